"""Grammars as samplers.

Every grammar is parsed by our own code first: llama.cpp's parser writes its errors to stderr and crashes on some.
"""

from __future__ import annotations

from typing import Any

from llamacli.binding import log
from llamacli.binding.library import library
from llamacli.engine.model import Model
from llamacli.errors import GrammarError


def grammar_sampler(model: Model, text: str | None) -> Any:
    """The grammar sampler of a GBNF text with a rule named root, owned by the caller; None for None.

    Raises:
        GrammarSyntaxError: the grammar does not parse, or is deeper or larger than llama.cpp survives.
    """
    if text is None:
        return None
    from llamacli import grammar as gbnf  # only those who use grammars wait for it

    gbnf.check_safe(text)
    with log.complaints():
        handle = library().llama_sampler_init_grammar(model.vocabulary.handle, text.encode(), b"root")
    if not handle:
        raise GrammarError("llama.cpp does not take this grammar")
    return handle
