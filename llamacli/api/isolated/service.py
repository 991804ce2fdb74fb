"""The child of an isolated `Llama`: it holds the real one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llamacli.api.grammar import LlamaGrammar
from llamacli.api.isolated import contract
from llamacli.api.isolated.contract import Array, Forwarded
from llamacli.api.llama import Llama
from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.task import Task
from llamacli.binding.library import library
from llamacli.errors import EngineError


def service() -> dict[Method, Handler]:
    """Return the handlers, with the native library loaded."""
    library()
    return LlamaService().handlers()


class LlamaService:
    """The handlers of one `Llama`, which `OPEN` makes."""

    def __init__(self) -> None:
        self._llama: Llama | None = None

    def handlers(self) -> dict[Method, Handler]:
        """Return the handlers by method."""
        return {
            contract.OPEN: self._open,
            contract.CALL: lambda asked, task: self._call(asked),
            contract.CALL_ARRAY: lambda asked, task: _array(self._call(asked)),
            contract.STREAM: self._stream,
        }

    def _open(self, arguments: dict[str, Any], task: Task) -> None:
        self._llama = Llama(**arguments, on_load=task.emit)

    def _call(self, asked: Forwarded) -> Any:
        if self._llama is None:
            raise EngineError("no model is open in the engine's process")
        if asked.name in contract.PROPERTIES:
            return getattr(self._llama, asked.name)
        if asked.name not in (*contract.CALLS, *contract.STREAMS):
            raise EngineError(f"{asked.name} is not forwarded")
        keywords = dict(asked.keywords)
        if isinstance(keywords.get("grammar"), str):
            keywords["grammar"] = LlamaGrammar.from_string(keywords["grammar"])
        return getattr(self._llama, asked.name)(*asked.positional, **keywords)

    def _stream(self, asked: Forwarded, _task: Task) -> Iterator[Any]:
        yield from self._call(asked)


def _array(found: Any) -> Array:
    return Array(str(found.dtype), tuple(found.shape), found.tobytes())
