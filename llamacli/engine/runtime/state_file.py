"""Files of saved states: the evaluated tokens of a sequence and their KV cache, in a checksummed container.

llama.cpp silently accepts some altered state files and aborts on others. So a state reaches it only if the checksum over the
whole file is right and the fingerprint matches model, build and cache types.

Layout: the magic line; a line of JSON (`version, fingerprint, tokens, payload, sha256`), the token ids as little-endian
int32, the payload. `sha256` covers fingerprint, tokens and payload.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from llamacli.errors import InvalidJSONError, StateError
from llamacli.json_text import parse_json

MAGIC = b"llamacli-state\n"
VERSION = 1
_LONGEST_HEADER = 4096
_CHUNK = 16 << 20


@dataclass(frozen=True, slots=True)
class State:
    """The tokens of a sequence and their KV cache, as llama.cpp serializes it."""

    fingerprint: str
    tokens: tuple[int, ...]
    payload: bytes

    def digest(self) -> str:
        """Return the SHA-256 of fingerprint, tokens and payload, in hexadecimal."""
        return hashlib.sha256(self.fingerprint.encode() + _packed(self.tokens) + self.payload).hexdigest()


def pack(state: State) -> bytes:
    """Serialize a state."""
    header = {
        "version": VERSION,
        "fingerprint": state.fingerprint,
        "tokens": len(state.tokens),
        "payload": len(state.payload),
        "sha256": state.digest(),
    }
    return b"".join((MAGIC, json.dumps(header).encode(), b"\n", _packed(state.tokens), state.payload))


def unpack(data: bytes, name: str = "the saved state") -> State:
    """Deserialize what `pack` returned. `name` is used in messages.

    Raises:
        StateError: if it is something else, truncated or altered.
    """
    return _read(io.BytesIO(data), name, len(data))


def _read(file: IO[bytes], name: str, length: int | None) -> State:
    """Read the state in a file of `length` bytes, or in a pipe (None), which is read no further than the header announces."""
    if file.read(len(MAGIC)) != MAGIC:
        raise StateError(f"{name} is not a saved state of llamacli")
    line = file.readline(_LONGEST_HEADER)
    try:
        header = parse_json(line)
        version, count, size = header["version"], int(header["tokens"]), int(header["payload"])
        expected, made_by = str(header["sha256"]), str(header["fingerprint"])
    except (InvalidJSONError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{name} has a corrupt header") from error
    if version != VERSION:
        raise StateError(f"{name} has format version {version}; this program reads version {VERSION}")
    announced = 4 * count + size
    found = announced if length is None else length - len(MAGIC) - len(line)
    tokens, payload = b"", b""
    if count >= 0 and size >= 0 and found == announced:
        tokens, payload = _taken(file, 4 * count), _taken(file, size)
        found = len(tokens) + len(payload) + len(file.read(1))
    if count < 0 or size < 0 or found != announced:
        raise StateError(f"{name} is truncated or has trailing data: {announced} bytes expected, {found} found")
    state = State(made_by, _unpacked(tokens), payload)
    if state.digest() != expected:
        raise StateError(f"{name} is corrupt: its checksum does not match")
    return state


def _taken(file: IO[bytes], count: int) -> bytes:
    """Read up to `count` bytes in chunks, so that a false count takes no more memory than the file has bytes."""
    chunks = []
    while count > 0 and (chunk := file.read(min(count, _CHUNK))):
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def write(path: Path, state: State) -> None:
    """Write a file as `publish` does. Raises OSError as it does."""
    with publish(path) as file:
        file.write(pack(state))


@contextmanager
def publish(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for a state, readable by its owner only, which replaces `path` when the block ends without an error.

    Symbolic links are followed; devices are written to.

    Raises:
        OSError: if it cannot be written; `filename` is the path.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            with target.open("wb") as device:
                yield device
            return
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mkstemp makes it 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def read(path: Path) -> State:
    """Read and verify a file. Raises as `read_open` does."""
    with open_state(path) as file:
        return read_open(file, f"the saved state {path}")


def open_state(path: Path) -> IO[bytes]:
    """Open a file for reading. Raises StateError if that is impossible."""
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(f"the saved state {path}", error) from error


def read_open(file: IO[bytes], name: str) -> State:
    """Read and verify an open file. A file of another kind is rejected by its first bytes. `name` is used in messages.

    Raises:
        StateError: if it is not a state file, truncated or altered.
    """
    try:
        about = os.fstat(file.fileno())
        return _read(file, name, about.st_size if stat.S_ISREG(about.st_mode) else None)
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> StateError:
    return StateError(f"cannot read {name}: {error.strerror}")


def read_tokens(path: Path) -> tuple[int, ...]:
    """Return the tokens of a file without reading or verifying its cache.

    Raises:
        StateError: if it is not a state file, or too short.
    """
    try:
        with path.open("rb") as file:
            is_state = file.read(len(MAGIC)) == MAGIC
            count = int(parse_json(file.readline(_LONGEST_HEADER))["tokens"]) if is_state else -1
            tokens = file.read(4 * count) if 0 <= 4 * count <= path.stat().st_size else b""
    except (OSError, InvalidJSONError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"cannot read the saved state {path}: {error}") from error
    if count < 0 or len(tokens) != 4 * count:
        raise StateError(f"{path} is not a saved state of llamacli, or truncated")
    return _unpacked(tokens)


def _packed(tokens: tuple[int, ...]) -> bytes:
    packed = array("i", tokens)
    if _BIG_ENDIAN:
        packed.byteswap()
    return packed.tobytes()


def _unpacked(data: bytes) -> tuple[int, ...]:
    packed = array("i", data)
    if _BIG_ENDIAN:
        packed.byteswap()
    return tuple(packed)


_BIG_ENDIAN = array("H", [1]).tobytes() == b"\x00\x01"
