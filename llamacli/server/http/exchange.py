"""One request and its response."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from llamacli.errors import LlamacliError
from llamacli.json_text import MAX_DEPTH, check_depth, parse_json
from llamacli.openai.errors import Problem, problem_of
from llamacli.server.http.asgi import Receive, Scope, Send
from llamacli.server.http.deadline import until
from llamacli.server.models.admission import QueueFullError
from llamacli.server.security.rate_limit import Allowance

T = TypeVar("T")

Headers = Sequence[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")

LARGE_BYTES = 1 << 18
"""Bytes of a body that is not read on the event loop: other streams would wait for that."""


class RefusedError(LlamacliError):
    """A request that the server refuses before it is read as a question: `problem` is the response."""

    def __init__(self, problem: Problem, headers: Headers = ()) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.headers = headers


class ClientGoneError(Exception):
    """The client has closed the connection, or does not take its response."""


@dataclass(slots=True)
class Record:
    """What the access log and the metrics tell about a request. Times in seconds since its start."""

    method: str
    path: str
    id: str = field(default_factory=lambda: "req_" + secrets.token_hex(12))
    started: float = field(default_factory=time.monotonic)
    status: int = 0
    client: str = ""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    restored_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    queued: float | None = None
    first_token: float | None = None
    seconds: float = 0.0
    prompts: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of requests and responses: bytes of a body, seconds until it is there, seconds in which a write must succeed.

    `ping_seconds`: after so long without data, a stream gets a comment, so that nobody on the way takes it for dead.
    """

    body_bytes: int = 32 << 20
    body_seconds: float = 60.0
    write_seconds: float = 60.0
    ping_seconds: float = 5.0


class Exchange:
    """A request and its response, over ASGI. `headers` are added to the response; `allowance` pays for its tokens;
    `error_document` is the form of its errors.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: HttpLimits, record: Record) -> None:
        self.scope = scope
        self.limits = limits
        self.record = record
        self.headers: list[tuple[bytes, bytes]] = [(b"x-request-id", record.id.encode())]
        self.body = b""
        self.started = False
        self.allowance: Allowance | None = None
        self.error_document: Callable[[Problem], dict[str, Any]] = Problem.document
        self._receive = receive
        self._send = send

    @property
    def path_params(self) -> dict[str, str]:
        """The variable parts of the path."""
        return dict(self.scope.get("path_params", {}))

    # --- the request ----------------------------------------------------------------------------------------------------

    async def read_body(self, limit: int | None = None) -> None:
        """Read the body.

        Raises:
            RefusedError: if it is too large, or does not come in time.
            ClientGoneError: if the client leaves.
        """
        limit = limit or self.limits.body_bytes
        chunks: list[bytes] = []
        size = 0
        try:
            deadline = asyncio.get_running_loop().time() + self.limits.body_seconds
            while True:
                message = await until(deadline, self._receive())
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > limit:
                    text = f"the body is larger than {limit} bytes"
                    raise RefusedError(Problem(status=413, message=text, code="too_large"), [(b"connection", b"close")])
                if not message.get("more_body", False):
                    break
        except TimeoutError:
            text = f"the body did not come within {self.limits.body_seconds:g} seconds"
            raise RefusedError(Problem(status=408, message=text, code="timeout"), [(b"connection", b"close")]) from None
        self.body = b"".join(chunks)

    async def json(self) -> Any:
        """Return the body as JSON. Raises InvalidJSONError."""
        return await self.read(lambda: _parsed(self.body))

    async def read(self, work: Callable[[], T]) -> T:
        """Return what `work`, which reads the body, returns: it runs on a thread if the body is large."""
        return work() if len(self.body) <= LARGE_BYTES else await asyncio.to_thread(work)

    async def gone(self) -> None:
        """Return when the client has left. Only after `read_body`."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    # --- the response ---------------------------------------------------------------------------------------------------

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of the response."""
        self.started = True
        self.record.status = status
        await self._put({"type": "http.response.start", "status": status, "headers": [*self.headers, *headers]})

    async def write(self, body: bytes, *, more: bool = False) -> None:
        """Send a part of the body. Raises ClientGoneError if the client does not take it in time."""
        await self._put({"type": "http.response.body", "body": body, "more_body": more})

    async def reply(self, body: bytes, *, status: int = 200, headers: Headers = ()) -> None:
        """Send a whole response."""
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.write(body)

    async def reply_json(self, document: Any, *, status: int = 200, headers: Headers = ()) -> None:
        """Send a document."""
        await self.reply(dump(document), status=status, headers=[JSON_TYPE, *headers])

    async def fail(self, error: Exception) -> None:
        """Send the response of a request that failed."""
        problem, headers = problem_and_headers(error)
        await self.reply_json(self.error_document(problem), status=problem.status, headers=headers)

    async def _put(self, message: dict[str, Any]) -> None:
        try:
            await until(asyncio.get_running_loop().time() + self.limits.write_seconds, self._send(message))
        except TimeoutError:
            raise ClientGoneError from None


_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""Characters at which some clients split lines, though neither JSON nor event streams do."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def _parsed(body: bytes) -> Any:
    """Return JSON as `parse_json` does, in a third of the time or less. What msgspec refuses goes to `parse_json` itself."""
    try:
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
            check_depth(body.decode())
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return parse_json(body)


def dump(document: Any) -> bytes:
    """Return a document as compact JSON on one line, whatever a client takes for the end of a line.

    Numbers that JSON does not have, such as the logarithm of 0, are null, as llama-server has them.
    """
    try:
        data = _encoder.encode(document)
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(document, separators=(",", ":")).encode()
    return data if data.isascii() else data.decode().translate(_LINE_ENDS).encode()


def problem_and_headers(error: Exception) -> tuple[Problem, list[tuple[bytes, bytes]]]:
    """Return what an exception is to a client, and the headers that say when to try again."""
    if isinstance(error, RefusedError):
        problem, headers = error.problem, list(error.headers)
    elif isinstance(error, QueueFullError):
        problem, headers = (
            Problem(status=429, message=str(error), type="rate_limit_error", code="queue_full", retry_after=error.retry_after),
            [],
        )
    else:
        problem, headers = problem_of(error), []
    if problem.retry_after is not None:
        headers += [
            (b"retry-after", str(max(1, round(problem.retry_after + 0.5))).encode()),
            (b"retry-after-ms", str(round(1e3 * problem.retry_after)).encode()),
        ]
    return problem, headers
