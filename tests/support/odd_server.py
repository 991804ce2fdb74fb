"""A little HTTP server that answers as a test scripts it, byte for byte, and keeps what it was asked."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODELS = {"object": "list", "data": [{"id": "odd", "object": "model", "owned_by": "system"}]}


@dataclass(frozen=True)
class Asked:
    """A request: its path, its headers by lower-case name, and its document."""

    method: str
    path: str
    headers: Mapping[str, str]
    document: Any


@dataclass
class Script:
    """The answers to POST requests in turn, of which the last is repeated; each is raw bytes, or makes them of the request.

    `models` None has no list of models. `pages` are the documents of other paths.
    """

    answers: Sequence[bytes | Callable[[Asked], bytes]] = ()
    models: Any = field(default_factory=lambda: MODELS)
    pages: Mapping[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def posts(self) -> list[Asked]:
        return [one for one in self.asked if one.method == "POST"]

    def reply(self, asked: Asked) -> bytes:
        with self.lock:
            number = len(self.posts)
            self.asked.append(asked)
        if asked.method == "GET":
            if asked.path.endswith("/models") and self.models is not None:
                return response(json.dumps(self.models))
            if asked.path in self.pages:
                return response(json.dumps(self.pages[asked.path]))
            return response('{"error": {"message": "no such page"}}', status=404)
        answer = self.answers[min(number, len(self.answers) - 1)]
        return answer(asked) if callable(answer) else answer


def response(body: str | bytes, *, status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    """A whole response."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def chunked(*portions: bytes, ends: bool = True) -> bytes:
    """A stream of events in chunks of these bytes; without `ends` the connection breaks after them."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%b\r\n" % (len(portion), portion) for portion in portions)
    return head + body + (b"0\r\n\r\n" if ends else b"")


def chunk(content: str | None = None, *, reason: str | None = None, index: int = 0, **more: Any) -> bytes:
    """An event with a chunk of a chat."""
    delta = {} if content is None else {"content": content}
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({'choices': [choice], **more})}\n\n".encode()


def answered(*texts: str) -> bytes:
    """A whole answer as a stream."""
    return chunked(*map(chunk, texts), chunk(reason="stop"), b"data: [DONE]\n\n")


def refused(status: int, message: str = "no", *, param: str | None = None, code: str | None = None, **headers: str) -> bytes:
    """An error as OpenAI writes it."""
    return response(json.dumps({"error": {"message": message, "param": param, "code": code}}), status=status, **headers)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            method, path, _ = line.decode().split()
            headers = {}
            while (header := self.rfile.readline().decode().strip()) != "":
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            body = self.rfile.read(int(headers.get("content-length", 0)))
            asked = Asked(method, path, headers, json.loads(body) if body else None)
            reply = self.server.script.reply(asked)  # type: ignore[attr-defined]
            self.wfile.write(reply)
            if b"Transfer-Encoding" in reply and not reply.endswith(b"0\r\n\r\n"):
                return


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the client has left


class _UnixServer(_Server):
    address_family = socket.AF_UNIX


@contextmanager
def odd_server(script: Script, path: Path | None = None, *, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a server that follows a script, on loopback, with `tls` encrypted, or on the unix socket `path`."""
    server = _Server(("127.0.0.1", 0), _Handler) if path is None else _UnixServer(str(path), _Handler)  # type: ignore[arg-type]
    server.script = script  # type: ignore[attr-defined]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}" if path is None else f"unix://{path}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
