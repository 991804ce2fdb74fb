"""RPC nodes for tests: ours in processes of their own, one behind a proxy that breaks off, and ones that are none."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

from llamacli.backend.child.node import NodeParams, NodeProcess
from llamacli.backend.child.params import ChildParams

HELLO, SET_TENSOR, GRAPH_COMPUTE, GRAPH_RECOMPUTE = 14, 6, 10, 16


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def running_node(**options: object) -> Iterator[tuple[str, NodeProcess]]:
    """The address of a node that runs, and its process."""
    port = free_port()
    with NodeProcess(NodeParams(host="127.0.0.1", port=port, threads=1, **options), ChildParams()) as process:  # type: ignore[arg-type]
        yield f"127.0.0.1:{port}", process


class FailingNode:
    """A node that is gone after `count` commands of the kinds `commands`: what stands before a real one."""

    def __init__(self, address: str, commands: set[int], count: int) -> None:
        host, _, port = address.partition(":")
        self._behind = host, int(port)
        self._commands, self._left = commands, count
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._left:
            try:
                front, _ = self._server.accept()
            except OSError:
                return
            with front, socket.create_connection(self._behind) as back:
                threading.Thread(target=_copy, args=(back, front), daemon=True).start()
                self._pass_commands(front, back)
                if not self._left:
                    self._server.close()  # before the connection ends: who sees that asks whether the node is there
                for one in (front, back):
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)

    def _pass_commands(self, front: socket.socket, back: socket.socket) -> None:
        """Pass on commands until the connection ends or the last one has come, which gets no answer."""
        while len(head := _read(front, 9)) == 9:
            command, length = struct.unpack("<BQ", head)
            if command in self._commands:
                self._left -= 1
                if not self._left:
                    return
            back.sendall(head + _read(front, length))

    def close(self) -> None:
        self._left = 0
        self._server.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(1 << 16):
            target.sendall(part)


def _read(connection: socket.socket, size: int) -> bytes:
    found = bytearray()
    with contextlib.suppress(OSError):
        while len(found) < size and (part := connection.recv(size - len(found))):
            found += part
    return bytes(found)


@contextlib.contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """The address of a server that sends these bytes to whoever says something; None: it says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1 << 10)
                    if answer is None:
                        ended.wait(10)
                    else:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()
