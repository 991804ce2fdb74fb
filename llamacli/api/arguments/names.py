"""Names of arguments in errors: the engine's errors carry its own parameter, which some arguments of `Llama` rename."""

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
    "cache_type_k": "type_k",
    "cache_type_v": "type_v",
    "chat_template": "chat_format",
    "flash_attention": "flash_attn",
    "gpu_layers": "n_gpu_layers",
    "kv_offload": "offload_kqv",
    "loras": "lora_path",
    "mirostat": "mirostat_mode",
    "n_seq_max": "n_parallel",
    "overrides": "kv_overrides",
    "pooling": "pooling_type",
    "rope_scaling": "rope_scaling_type",
    "threads": "n_threads",
    "threads_batch": "n_threads_batch",
}
"""Arguments by the engine's parameter; the others have the same name."""


@contextmanager
def argument_names() -> Iterator[None]:
    """Name arguments instead of the engine's parameters in errors that leave the block."""
    try:
        yield
    except LlamacliError as error:
        if error.parameter is not None:
            _name_arguments(error, error.parameter)
        raise


def naming_arguments(call: Callable[P, R]) -> Callable[P, R]:
    """Wrap a call so that its errors, and those of a generator that it returns, name arguments."""

    @functools.wraps(call)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with argument_names():
            result: Any = call(*args, **kwargs)
        return _naming_arguments(result) if isinstance(result, Generator) else result  # type: ignore[return-value]

    return run


def _naming_arguments(items: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    with argument_names():
        return (yield from items)


def _name_arguments(error: LlamacliError, parameter: str) -> None:
    """Rename the parameter of an error, and others that are not ordinary words."""
    names = {name: argument for name, argument in _ARGUMENTS.items() if name == parameter or "_" in name}

    def renamed(text: str) -> str:
        return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), text)

    error.message = renamed(error.message)
    error.hint = renamed(error.hint) if error.hint is not None else None
    error.parameter = names.get(parameter, parameter)
    error.args = (error.message,)
