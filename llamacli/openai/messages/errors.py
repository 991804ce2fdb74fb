"""Anthropic's error documents."""

from __future__ import annotations

from typing import Any

from llamacli.openai.errors import Problem

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_document(problem: Problem, request_id: str | None = None) -> dict[str, Any]:
    """Return the document of a failed request, which is also the event `error` of a stream."""
    kind = _TYPES.get(problem.status, "api_error" if problem.status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": problem.message}, "request_id": request_id}
