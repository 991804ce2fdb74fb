"""The engine's messages name the options of the command line; here they get the names of the arguments of `Llama`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from llamacli.errors import LlamacliError

P = ParamSpec("P")
R = TypeVar("R")

_ARGUMENTS = {
    "-b": "n_batch",
    "-c": "n_ctx",
    "-ctk": "type_k",
    "-ctv": "type_v",
    "-fa": "flash_attn",
    "-n": "max_tokens",
    "-ngl": "n_gpu_layers",
    "-ts": "tensor_split",
    "-ub": "n_ubatch",
    "--chat-template": "chat_format",
    "--lora": "lora_path",
    "--mirostat": "mirostat_mode",
    "--raw": "create_completion",
    "--repeat-penalty": "repeat_penalty",
    "--tool-choice": "tool_choice",
}

_PHRASES = {
    "-ngl must be auto, all or a number from 0": "n_gpu_layers must be None, -1 or a number from 0",
    "llamacli embed uses embedding models": "create_embedding uses embedding models",
    "try --check-tensors, or -fa off": "try flash_attn='off'",
    "--truncate cuts it, --chunk N splits it": "cut or split it",
}
"""What there is no argument for, or which takes other values."""

_OPTION = re.compile(r"(?<![\w-])(--?[a-z][a-z-]*)(?: (\d+|[a-z]+\d\w*|off|none)\b)?(?![\w-])")


@contextmanager
def argument_names() -> Iterator[None]:
    """Errors of llamacli that leave the block name arguments instead of options."""
    try:
        yield
    except LlamacliError as error:
        error.message = reworded(error.message)
        error.hint = reworded(error.hint) if error.hint is not None else None
        error.args = (error.message,)
        raise


def naming_arguments(call: Callable[P, R]) -> Callable[P, R]:
    """A call whose errors, and those of the generator that it may return, name arguments."""

    @functools.wraps(call)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with argument_names():
            result: Any = call(*args, **kwargs)
        return _naming_arguments(result) if isinstance(result, Generator) else result  # type: ignore[return-value]

    return run


def _naming_arguments(items: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    with argument_names():
        return (yield from items)


def reworded(text: str) -> str:
    """The text with arguments for options.

    >>> reworded("use a smaller -c, or -ctk q8_0 -ctv q8_0")
    "use a smaller n_ctx, or type_k='q8_0' type_v='q8_0'"
    >>> reworded("use -c 768 or more")
    'use n_ctx=768 or more'
    """
    for phrase, other in _PHRASES.items():
        text = text.replace(phrase, other)
    return _OPTION.sub(_argument, text)


def _argument(match: re.Match[str]) -> str:
    name, value = _ARGUMENTS.get(match[1]), match[2]
    if name is None:
        return match[0]
    if value is None:
        return name
    return f"{name}={value if value.isdecimal() else repr(value)}"
