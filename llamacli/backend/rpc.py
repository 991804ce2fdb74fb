"""Nodes of llama.cpp's RPC: programs on other machines whose devices hold layers of a model that is loaded here.

They are asked before an engine connects to them: the native library ends its process over a node that is not there, is busy or
speaks another version. See `ggml/src/ggml-rpc/ggml-rpc.cpp` for the protocol: a command is a byte, a length of 8 bytes and so
many bytes; an answer the same without the first byte. A node serves one program at a time.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from llamacli.binding.location import find_folder, read_build_info
from llamacli.errors import RemoteError, UsageError

PORT: Final = 50052
"""The port of a node that is named without one, as llama.cpp's own."""

_DEVICE_MEMORY, _HELLO, _DEVICE_COUNT = 11, 14, 15
_CAPABILITIES = bytes(24)
"""What the transport can do beside TCP: nothing."""

_SECONDS = 5.0
_MOST_NODES = 16
_START = "start a node there: `llamacli help cluster` tells how"


@dataclass(frozen=True, slots=True)
class NodeDevice:
    """Memory of a device of a node, in bytes."""

    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node that answers: its address (`HOST:PORT`), the version of its protocol, and its devices."""

    address: str
    version: tuple[int, int, int]
    devices: tuple[NodeDevice, ...]


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of a node's address. Raises UsageError."""
    host, colon, port = address.rpartition(":")
    if not colon:
        host, port = address, str(PORT)
    if not host or ":" in host or not port.isascii() or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise UsageError(f"{address!r} is not an address HOST:PORT of an RPC node", parameter="rpc")
    return host, int(port)


def check_nodes(addresses: Iterable[str]) -> tuple[Node, ...]:
    """Return the nodes at these addresses, which are asked side by side.

    Raises:
        UsageError: if an address is malformed or named twice, or there are too many.
        RemoteError: if a node does not answer, or has another version than the native library.
    """
    places = [split_address(address) for address in addresses]
    if len(set(places)) < len(places):
        raise UsageError("an RPC node is named twice", parameter="rpc")
    if len(places) > _MOST_NODES:
        raise UsageError(f"there are {len(places)} RPC nodes; llama.cpp can use {_MOST_NODES}", parameter="rpc")
    with ThreadPoolExecutor(_MOST_NODES) as pool:
        return tuple(pool.map(lambda place: ask_node(*place), places))


def ask_node(host: str, port: int, *, seconds: float = _SECONDS) -> Node:
    """Return the node at an address. Raises RemoteError as `check_nodes`."""
    address = f"{host}:{port}"
    try:
        with socket.create_connection((_resolve(host), port), timeout=seconds) as connection:
            return _talk(address, connection)
    except TimeoutError as error:
        reason = "does not answer, or serves another program"
        raise RemoteError(f"the RPC node {address} {reason}", hint=f"a node serves one program at a time; {_START}") from error
    except OSError as error:
        raise RemoteError(f"cannot reach the RPC node {address}: {error.strerror or error}", hint=_START) from error


def lost_nodes(addresses: Iterable[str], *, seconds: float = 1.0) -> list[str]:
    """Return those of these nodes that accept no connection now."""
    with ThreadPoolExecutor(_MOST_NODES) as pool:
        wanted = list(addresses)
        accepts = pool.map(lambda address: _accepts(address, seconds), wanted)
        return [address for address, accepted in zip(wanted, accepts, strict=True) if not accepted]


def _accepts(address: str, seconds: float) -> bool:
    try:
        host, port = split_address(address)
        socket.create_connection((_resolve(host), port), timeout=seconds).close()
    except OSError:
        return False
    return True


def _resolve(host: str) -> str:
    """Return the IPv4 address of a name: RPC knows no other. Raises OSError."""
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except (socket.gaierror, UnicodeError) as error:
        raise OSError(f"the name {host!r} has no IPv4 address") from error


def _talk(address: str, connection: socket.socket) -> Node:
    version = _call(address, connection, _HELLO, _CAPABILITIES, 4 + len(_CAPABILITIES))
    found = (version[0], version[1], version[2])
    _check_version(address, found)
    (count,) = struct.unpack("<I", _call(address, connection, _DEVICE_COUNT, b"", 4))
    devices = []
    for index in range(min(count, _MOST_NODES)):
        answer = _call(address, connection, _DEVICE_MEMORY, struct.pack("<I", index), 16)
        devices.append(NodeDevice(*struct.unpack("<QQ", answer)))
    return Node(address, found, tuple(devices))


def _check_version(address: str, found: tuple[int, int, int]) -> None:
    ours = read_build_info(find_folder()).get("rpc_protocol") or [0, 0, 0]
    if found[0] != ours[0] or found[1] > ours[1]:
        theirs, own = ".".join(map(str, found)), ".".join(map(str, ours))
        raise RemoteError(
            f"the RPC node {address} speaks version {theirs} of the protocol, this program {own}",
            hint="the same version of llamacli or llama.cpp is needed on both sides",
        )


def _call(address: str, connection: socket.socket, command: int, payload: bytes, size: int) -> bytes:
    """Send a command and return its answer of `size` bytes. Raises RemoteError if something else answers."""
    connection.sendall(struct.pack("<BQ", command, len(payload)) + payload)
    (length,) = struct.unpack("<Q", _read(address, connection, 8))
    if length != size:
        raise _no_node(address)
    return _read(address, connection, size)


def _read(address: str, connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = connection.recv(size - len(found))
        if not more:
            raise _no_node(address)
        found += more
    return found


def _no_node(address: str) -> RemoteError:
    return RemoteError(f"{address} is not an RPC node: it answers something else", hint=_START)
