"""A server's refusal as an exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llamacli.errors import (
    ContextFullError,
    GrammarError,
    InvalidJSONError,
    LlamacliError,
    ModelNotFoundError,
    RemoteError,
    UsageError,
)
from llamacli.json_text import parse_json

_MOST_CHARACTERS = 600
_REFUSED = (400, 413, 415, 422)


class MalformedError(RemoteError):
    """A whole answer that is not what was asked for: the same request will not be answered better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a server says about a request that it did not answer. `parameter` is the field at fault, if it names one."""

    status: int
    message: str
    code: str = ""
    parameter: str = ""

    @property
    def is_about_request(self) -> bool:
        """True if the same request is refused again, but another one may not be."""
        return self.status in _REFUSED


def read_refusal(status: int, body: bytes | Mapping[str, Any]) -> Refusal:
    """Read the body of a response with an error, or the document of an error in a stream. Any body will do."""
    document: Any = body
    if isinstance(body, bytes):
        try:
            document = parse_json(body)
        except InvalidJSONError:
            document = None
    inner = document.get("error", document) if isinstance(document, Mapping) else None
    if isinstance(inner, Mapping):
        text = inner.get("message") or inner.get("detail") or inner.get("error") or ""
        code, parameter = inner.get("code"), inner.get("param")
    else:
        text, code, parameter = inner or "", None, None
    message = " ".join(str(text).split())[:_MOST_CHARACTERS]
    return Refusal(
        status=status,
        message=message,
        code=code if isinstance(code, str) else "",
        parameter=parameter if isinstance(parameter, str) else "",
    )


def error_of(refusal: Refusal, server: str) -> LlamacliError:
    """Return the exception of a refusal. `server` is named in its message."""
    said = f": {refusal.message}" if refusal.message else f" with status {refusal.status}"
    if refusal.status in (401, 403):
        return UsageError(f"{server} refuses the key{said}", hint="LLAMACLI_API_KEY provides one", parameter="url")
    if refusal.code == "context_length_exceeded":
        return ContextFullError(f"{server} refuses the request{said}", needed=0, available=0)
    if refusal.code == "invalid_grammar":
        return GrammarError(f"{server} refuses the constraint{said}")
    if refusal.status == 404:
        return ModelNotFoundError(f"{server} has no such model or page{said}", hint="-m names a model of the server")
    if refusal.is_about_request:
        return UsageError(f"{server} refuses the request{said}")
    return RemoteError(f"{server} failed{said}")
