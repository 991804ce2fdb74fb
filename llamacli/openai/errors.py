"""OpenAI's error documents, and the HTTP status of each exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llamacli import errors

INVALID, SERVER = "invalid_request_error", "server_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A failed request. `param` is the field at fault; `retry_after` are the seconds after which another try makes sense."""

    status: int
    message: str
    type: str = INVALID
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None

    def document(self) -> dict[str, Any]:
        """Return OpenAI's document."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


_BRANCHES: tuple[tuple[type[errors.LlamacliError], int, str, str | None], ...] = (
    (errors.ContextFullError, 400, INVALID, "context_length_exceeded"),
    (errors.UsageError, 400, INVALID, "invalid_value"),
    (errors.GrammarError, 400, INVALID, "invalid_grammar"),
    (errors.ModelNotFoundError, 404, INVALID, "model_not_found"),
    (errors.ModelUnsupportedError, 400, INVALID, "model_unsupported"),
    (errors.TemplateError, 400, INVALID, "chat_template"),
    (errors.MediaError, 400, INVALID, "invalid_media"),
    (errors.MemoryFullError, 503, SERVER, "memory_full"),
    (errors.ModelError, 503, SERVER, "model_unavailable"),
    (errors.EngineError, 503, SERVER, "engine_failed"),
    (errors.StorageError, 507, SERVER, "storage_full"),
    (errors.CancelledError, 503, SERVER, "cancelled"),
)
"""Status, type and code of each branch of the tree of exceptions; the first match counts."""

_RETRIES = {"memory_full": 5.0, "engine_failed": 1.0, "cancelled": 1.0}
"""Seconds after which another try may succeed."""


_KEYS = {"dims": "dimensions"}
"""JSON keys of the engine's parameters, where they have another name."""


def problem_of(error: Exception) -> Problem:
    """Return what an exception is to a client. An exception that is not one of ours is a bug: only its name is returned."""
    if isinstance(error, errors.LlamacliError):
        status, kind, code = next((row[1:] for row in _BRANCHES if isinstance(error, row[0])), (500, SERVER, "internal_error"))
        parameter = error.parameter or ""
        key = _KEYS.get(parameter, parameter)
        return Problem(
            status=status,
            message=str(error).replace(f"{parameter} ", f"{key} ") if key != parameter else str(error),
            type=kind,
            code=code,
            param=key if key and status == 400 else None,
            retry_after=_RETRIES.get(code or ""),
        )
    if isinstance(error, MemoryError):
        return Problem(status=503, message="out of memory", type=SERVER, code="memory_full", retry_after=5.0)
    message = f"unexpected {type(error).__name__} (this is a bug; the server's log has the details)"
    return Problem(status=500, message=message, type=SERVER, code="internal_error")
