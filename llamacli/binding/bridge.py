"""The shim's JSON functions (`shim.h`) as Python functions and owned handles, with errors as exceptions.

None of them needs a model. Lone surrogates in a request, which UTF-8 cannot encode, become question marks.
"""

from __future__ import annotations

import ctypes
import json
import re
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from llamacli.binding.library import declarations, library
from llamacli.errors import (
    ClosedError,
    ConstraintError,
    EngineError,
    GrammarError,
    LlamacliError,
    MemoryFullError,
    ModelError,
    SchemaError,
    TemplateError,
    UsageError,
)

Json = dict[str, Any]

_KINDS: dict[str, type[LlamacliError]] = {
    "template": TemplateError,
    "schema": SchemaError,
    "grammar": GrammarError,
    "usage": UsageError,
    "memory": MemoryFullError,
    "output": ConstraintError,
    "model": ModelError,
}
_RAISED = "Jinja Exception: "


def answer(name: str, *arguments: Any) -> Json:
    """Call a function that returns JSON.

    Raises:
        TemplateError, SchemaError, GrammarError, UsageError, ConstraintError, ModelError: if the function reports one.
        MemoryFullError: if memory is exhausted.
        EngineError: if llama.cpp fails in an unforeseen way.
    """
    lib = library()
    text = getattr(lib, name)(*arguments)
    if not text:
        raise MemoryFullError("out of memory")
    try:
        document: Json = json.loads(ctypes.string_at(text))
    finally:
        lib.llamacli_free(text)
    if "error" in document:
        raise _exception(document["error"])
    return document


def memory(path: bytes, model: Any, context: Any) -> Json:
    """Estimate the memory of a file with these `llama_model_params` and `llama_context_params` (`llamacli_memory` in shim.h).

    Raises:
        ModelError: if the file cannot be read; llama.cpp's log has the reason.
    """
    return answer("llamacli_memory", path, ctypes.byref(model), ctypes.byref(context))


def system() -> Json:
    """Return the build, the backends, their features and their devices (`llamacli_system` in shim.h)."""
    return answer("llamacli_system")


class Handle:
    """Owner of a C object of the shim. `close` is idempotent, and a closed handle raises ClosedError."""

    type_name = ""

    def __init__(self, function: str, *arguments: Any) -> None:
        self._library = library()
        self._lock = threading.Lock()
        self._pointer: Any = ctypes.POINTER(declarations.structs[f"llamacli_{self.type_name}"])()
        self.description = answer(function, *arguments, ctypes.byref(self._pointer))

    def close(self) -> None:
        """Free the C object."""
        with self._lock:
            pointer, self._pointer = self._pointer, type(self._pointer)()
            if pointer:
                getattr(self._library, f"llamacli_{self.type_name}_free")(pointer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _open(self) -> Any:
        if not self._pointer:
            raise ClosedError(f"the {self.type_name} is closed")
        return self._pointer


class Chat(Handle):
    """A chat template. `description` has `builtin` and `capabilities`."""

    type_name = "chat"

    def __init__(self, request: Mapping[str, Any]) -> None:
        super().__init__("llamacli_chat_create", encode(request))

    def render(self, request: Mapping[str, Any]) -> Json:
        """Render messages (`llamacli_chat_render` in shim.h).

        Raises:
            TemplateError: if the template rejects them, fails, or takes too long.
        """
        with self._lock:
            return answer("llamacli_chat_render", self._open(), encode(request))


class Parser(Handle):
    """The parser of one answer."""

    type_name = "parser"

    def __init__(self, request: Mapping[str, Any]) -> None:
        super().__init__("llamacli_parser_create", encode(request))

    def parse(self, text: str, *, partial: bool) -> Json:
        """Parse the answer so far (`llamacli_parser_parse` in shim.h).

        Raises:
            ConstraintError: if it is not in the template's format.
        """
        with self._lock:
            return answer("llamacli_parser_parse", self._open(), encode({"text": text, "partial": partial}))


class Fitted(Handle):
    """Parameters fitted to the memory of the devices, and the arrays that they point to; closed after the model is loaded.

    `model` and `context`, `llama_model_params` and `llama_context_params`, are changed in place. `description` has the changes,
    and whether the model fits (`llamacli_fit` in shim.h).

    Raises:
        ModelError: if the file cannot be read; llama.cpp's log has the reason.
    """

    type_name = "fitted"

    def __init__(self, path: bytes, model: Any, context: Any, *, margin: int, n_ctx_min: int) -> None:
        super().__init__("llamacli_fit", path, ctypes.byref(model), ctypes.byref(context), margin, n_ctx_min)


def encode(request: Mapping[str, Any]) -> bytes:
    """Encode a request as JSON.

    Raises:
        UsageError: if JSON cannot express it, or it is nested too deeply.
    """
    try:
        return json.dumps(request, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    except (TypeError, ValueError) as error:
        raise UsageError(f"the request cannot be encoded as JSON: {error}") from error
    except RecursionError:
        raise UsageError("the request is nested too deeply") from None


def _exception(error: Mapping[str, str]) -> LlamacliError:
    kind, message = error["kind"], error["message"]
    if kind == "template":
        return TemplateError(template_message(message))
    return _KINDS.get(kind, EngineError)(_flat(message))


def template_message(message: str) -> str:
    """Reduce llama.cpp's report on a template to one line: the fault, its location, and the text near it."""
    text = message.strip()
    raised = text.rfind(_RAISED)
    if raised >= 0:
        return f"the chat template rejects the messages: {_flat(text[raised + len(_RAISED) :])}"
    failed = re.search(r"While executing \w+ at (line \d+, column \d+) in source:.*\nError: (.*)", text, re.DOTALL)
    if failed:
        return f"the chat template fails at {failed[1]}: {_flat(failed[2])}"
    unread = re.match(r"(?:parser|lexer): (?:\w+ Error: )?([^\n]*)(?:\n([^\n]*))?", text)
    if unread:
        near = _flat((unread[2] or "").strip(".").replace("↵", " "))
        return f"the chat template does not parse: {_flat(unread[1])}" + (f", near {near!r}" if near else "")
    return _flat(text)


def _flat(text: str, most: int = 500) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
