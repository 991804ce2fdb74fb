"""uvicorn's HTTP protocol on httptools, which is C and takes a tenth of the time that h11 takes."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llamacli.server.http.protocol import Deadlines, H11Connection

MOST_HEAD_BYTES: Final = 1 << 16
"""Bytes of a head, and of what is not data between two parts of a body. h11 has such a limit of its own."""


class _JoinedHead:
    """The transport in the eyes of one response: its head, the first that it writes, goes with the first part of its body.

    Alone it goes at the end of the loop's turn.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None
        self._is_begun = False

    def write(self, data: bytes) -> None:
        """Write data, or keep it if it is the head."""
        if not self._is_begun:
            self._is_begun, self._head = True, data
            self._loop.call_soon(self._flush)
            return
        if self._head is not None:
            data, self._head = self._head + data, None
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection after what was written."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether the connection is closed, or about to be."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.write(head)


class HttpToolsConnection(Deadlines, HttpToolsProtocol):
    """A connection whose requests httptools reads.

    httptools drops the body of a request that offers another protocol, as Java's clients offer HTTP/2: h11 goes on with such a
    connection, and ignores the offer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._undecoded = 0  # bytes since the last part of a body, or since the request began
        self._data = b""

    def data_received(self, data: bytes) -> None:
        """Read a part of a request. What is not its body must not become too long."""
        self._undecoded += len(data)
        self._data = data
        super().data_received(data)
        if self._undecoded > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def on_headers_complete(self) -> None:
        """Count anew: the head has ended."""
        self._undecoded = 0
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.scope["method"] != "HEAD":
            self.cycle.transport = _JoinedHead(self.cycle.transport, self.loop)

    def on_body(self, body: bytes) -> None:
        """Count anew: there is data."""
        self._undecoded = 0
        super().on_body(body)

    def _should_upgrade(self) -> bool:
        return True  # so that uvicorn leaves such a request to the method below

    def handle_websocket_upgrade(self) -> None:
        """Let h11 read the request that offers another protocol, and what follows it."""
        if not getattr(self.cycle, "response_complete", True):
            self.transport.abort()  # it was sent before the response to the one before: nobody does that
            return
        pause = sys.exc_info()[1]  # httptools' exception: where in the data the head ends
        rest = self._data[pause.args[0] :] if isinstance(pause, httptools.HttpParserUpgrade) else b""
        lines = [b"%b: %b\r\n" % header for header in self.headers]
        start = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        self.connections.discard(self)
        self._stop_head()
        following = H11Connection(config=self.config, server_state=self.server_state, app_state=self.app_state)
        following.connection_made(self.transport)
        self.transport.set_protocol(following)
        following.data_received(b"".join([start, *lines, b"\r\n", rest]))

    def _refuse(self) -> None:
        """Answer that the head is too long. Where a response has begun, or belongs to another request, only close."""
        if getattr(self.cycle, "response_complete", True):
            self.send_400_response("the head of the request is too long")
        else:
            self.transport.abort()
