"""A server on this machine that sends prepared responses."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def server(*responses: bytes, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """Serve one response after another on this machine; the address, and the requests."""
    seen: list[bytes] = []

    def wrapped(plain: socket.socket) -> socket.socket:
        return plain if tls is None else tls.wrap_socket(plain, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for response in responses:
                plain, _ = listener.accept()
                with contextlib.suppress(OSError), plain, wrapped(plain) as connection:
                    seen.append(connection.recv(1 << 16))
                    connection.sendall(response)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{listener.getsockname()[1]}", seen
        thread.join(10)


def response(body: bytes, kind: str = "text/plain", status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
