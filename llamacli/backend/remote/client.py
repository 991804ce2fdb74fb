"""Requests to one server: redirects, retries and errors, above `transport`."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin, urlsplit

from llamacli.backend.remote.address import Address
from llamacli.backend.remote.problem import MalformedError, Refusal, error_of, read_refusal
from llamacli.backend.remote.retry import pause, should_retry
from llamacli.backend.remote.transport import Access, Response, Transport
from llamacli.errors import CancelledError, InvalidJSONError, LlamacliError, RemoteError
from llamacli.json_text import parse_json

logger = logging.getLogger(__name__)

RETRIES = 2
"""Times that a request is sent again, as by OpenAI's client."""

_REDIRECTS = 3


class RefusedError(Exception):
    """A response with an error, which the caller words. `headers` are those of the response."""

    def __init__(self, refusal: Refusal, headers: Mapping[str, str]) -> None:
        super().__init__(f"status {refusal.status}")  # a traceback shows this
        self.refusal = refusal
        self.headers = headers


class Client:
    """A server at an address. Safe from any thread."""

    def __init__(self, address: Address, access: Access) -> None:
        self.address = address
        self._access = access
        self._transport = Transport(address, access)
        self._cancelled = threading.Event()

    def __str__(self) -> str:
        return str(self.address)

    def get(self, path: str, *, patience: float | None = None) -> Any:
        """Return the document at a path. Raises RefusedError, RemoteError."""
        return self.document(self._with_retries("GET", path, None, RETRIES, patience))

    def post(self, path: str, document: Any, *, retries: int = RETRIES) -> Any:
        """Send a document and return the one that answers it. Raises RefusedError, RemoteError."""
        return self.document(self.open(path, document, retries=retries))

    def open(self, path: str, document: Any, *, retries: int = RETRIES) -> Response:
        """Send a document and return the response, whose body is still to come.

        Raises:
            RefusedError: if the server refuses it, also after `retries`.
            RemoteError: if the server cannot be reached.
            CancelledError: if `cancel` was called meanwhile.
        """
        body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
        return self._with_retries("POST", path, body, retries, None)

    def error(self, refused: RefusedError) -> LlamacliError:
        """Return the exception of a refusal, which names this server and never shows the key."""
        return self.error_of(refused.refusal)

    def error_of(self, refusal: Refusal) -> LlamacliError:
        """Return the exception of a refusal, see `error`."""
        error = error_of(refusal, str(self.address))
        error.message = self._hidden(error.message)
        error.args = (error.message,)
        return error

    def is_cancelled(self) -> bool:
        """Return whether `cancel` was called since the last `begin`."""
        return self._cancelled.is_set()

    def begin(self) -> None:
        """Forget an earlier `cancel`."""
        self._cancelled.clear()

    def cancel(self) -> None:
        """End all requests that run or wait, from any thread."""
        self._cancelled.set()
        self._transport.abort()

    def abort(self, response: Response) -> None:
        """End the request of one response, from any thread."""
        self._transport.abort_one(response)

    def close(self) -> None:
        """Close all connections."""
        self._cancelled.set()
        self._transport.close()

    def _with_retries(self, method: str, path: str, body: bytes | None, retries: int, patience: float | None) -> Response:
        for attempt in range(retries + 1):
            is_last = attempt == retries
            try:
                response = self._redirected(method, path, body, patience)
            except RemoteError as error:
                if self.is_cancelled():
                    raise CancelledError("cancelled") from error
                if is_last:
                    raise
                logger.info("%s: trying again", error.message)
                self._wait(pause(attempt, {}))
                continue
            if response.status < 300:
                return response
            refused = self._refused(response)
            if is_last or not should_retry(response.status, response.headers):
                raise refused
            seconds = pause(attempt, response.headers)
            logger.info("%s answers with status %d: trying again in %.1f s", self.address, response.status, seconds)
            self._wait(seconds)
        raise AssertionError("unreachable")

    def _redirected(self, method: str, path: str, body: bytes | None, patience: float | None) -> Response:
        """The response after redirects on this server. Raises RemoteError for one to another, which must not get the key."""
        for _ in range(_REDIRECTS + 1):
            response = self._transport.send(method, path, body, patience=patience)
            location = response.headers.get("location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            response.close()
            here = f"{'https' if self.address.scheme == 'https' else 'http'}://{self.address.authority}"
            target = urlsplit(urljoin(here + path, location))
            if f"{target.scheme}://{target.netloc}" != here or (body is not None and response.status not in (307, 308)):
                there = self._hidden(f"{target.scheme}://{target.netloc.rpartition('@')[2]}")
                raise RemoteError(
                    f"{self.address} redirects to {there}, which is not followed",
                    hint="name the server's own address",
                )
            path = target.path + (f"?{target.query}" if target.query else "")
        raise RemoteError(f"{self.address} redirects without end")

    def _refused(self, response: Response) -> RefusedError:
        try:
            body = response.body()
        except RemoteError:
            body = b""
        finally:
            response.close()
        refusal = read_refusal(response.status, body)
        return RefusedError(replace(refusal, message=self._hidden(refusal.message)), response.headers)

    def document(self, response: Response) -> Any:
        """Return the document of a response, and close it. Raises MalformedError, or RemoteError if the connection breaks."""
        try:
            return parse_json(response.body(), source=str(self.address))
        except InvalidJSONError as error:
            raise MalformedError(f"the answer of {error.message}", hint="is this the address of a model server?") from error
        except RemoteError as error:
            if self.is_cancelled():
                raise CancelledError("cancelled") from error
            raise
        finally:
            response.close()

    def _wait(self, seconds: float) -> None:
        if self._cancelled.wait(seconds):
            raise CancelledError("cancelled")

    def _hidden(self, text: str) -> str:
        return self._access.secret.hidden_in(text) if self._access.secret is not None else text
