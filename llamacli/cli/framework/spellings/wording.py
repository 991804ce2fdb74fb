"""The engine's parameters in the words of the command line: `n_ctx` is `-c`.

The engine's errors name parameters; their flags come from the declarations of the options.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from llamacli.cli.framework.options import ContextOptions, DraftModelOptions, GenerationOptions, ModelOptions, SamplingOptions
from llamacli.cli.framework.options.projector import ProjectorOptions
from llamacli.cli.framework.parameters import Option
from llamacli.cli.framework.signature import options_of

if TYPE_CHECKING:
    from llamacli.errors import LlamacliError

_NAME = r"(?<![\w./-])({names})(?:=([^\s,;()]+))?(?![\w/-]|\.\w)"
"""A parameter, perhaps with its value, but not a part of a file's name (`mmproj.gguf`)."""


def flag_of(parameter: str) -> str:
    """The flag that sets a parameter of the engine, `-c` for `n_ctx`; the parameter itself where no option does."""
    return _shared_flags().get(parameter, parameter)


def flags_of(options: Iterable[object]) -> dict[str, str]:
    """The first flag of each option, by the parameter that it sets."""
    return {one.sets: one.opts[0] for one in options if isinstance(one, Option)}


def word_parameters(error: LlamacliError, flags: Mapping[str, str]) -> None:
    """Put flags for the names of parameters in the message and the hint of an error about a parameter.

    Its own parameter is replaced wherever it is named. Other parameters are replaced where they cannot be common words: with an
    underscore (`cache_type_k`) or a value (`threads=4`).
    """
    if error.parameter is None:
        return
    error.message = word(error.message, flags, error.parameter)
    error.hint = word(error.hint, flags, error.parameter) if error.hint is not None else None
    error.args = (error.message,)


def word(text: str, flags: Mapping[str, str], parameter: str) -> str:
    """The text with flags for parameters.

    >>> word("n_ctx must be at least 1", {"n_ctx": "-c"}, "n_ctx")
    '-c must be at least 1'
    >>> word("use a smaller n_ctx, or cache_type_k=q8_0", {"n_ctx": "-c", "cache_type_k": "-ctk"}, "n_ctx")
    'use a smaller -c, or -ctk q8_0'
    """

    def flag(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if value is None and name != parameter and "_" not in name:
            return match[0]
        return flags[name] if value is None else f"{flags[name]} {value}"

    names = "|".join(sorted(map(re.escape, flags), key=len, reverse=True))
    return re.sub(_NAME.format(names=names), flag, text) if flags else text


@functools.cache
def _shared_flags() -> dict[str, str]:
    groups = (ModelOptions, DraftModelOptions, ProjectorOptions, ContextOptions, GenerationOptions, SamplingOptions)
    return flags_of(option for group in groups for option in options_of(group))
