"""Vocabularies and tokenizers as the options of `tokenize` select them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.tokenize.options import TextOptions

if TYPE_CHECKING:
    from llamacli.backend.child.params import ChildParams
    from llamacli.backend.child.tokenizer import ChildTokenizer, Vocabularies

PROGRESS_DELAY_SECONDS = 0.5
"""Time before a progress bar is shown."""


def load(paths: Sequence[Path], child: ChildParams) -> Vocabularies:
    """Load the vocabularies of model files in a child process."""
    from llamacli.backend.child.tokenizer import Vocabularies

    return Vocabularies(paths, child)


def tokenizer_for(loaded: Vocabularies, number: int, source: TextOptions, *, describes: bool) -> ChildTokenizer:
    """Return the tokenizer of one of them with the options of texts. `describes`: its tokens will be looked at one by one."""
    return loaded.tokenizer(
        number, special=source.special, wrap=source.bos, replace=source.errors == "replace", describes=describes
    )
