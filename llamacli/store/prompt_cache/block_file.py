"""Files of evaluated blocks: some tokens of a prompt and what the model computed for them, in a checksummed container.

Layout: the magic line; a line of JSON (`version, model, layout, tokens, payload, sha256`); the token ids as little-endian
int32; the payload. `sha256` covers all of them and the name of the file: under another name it is damaged, too. The store does
not know what layout and payload mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from llamacli.errors import InvalidJSONError, StateError
from llamacli.json_text import parse_json
from llamacli.values import dataclass

MAGIC = b"llamacli-prompt\n"
VERSION = 1
UNFINISHED = ".new-"
"""How the name of a file begins that is being written."""

_LONGEST_HEADER = 1 << 16

Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Heading:
    """What a file says of itself: the name of the model's file, the number of its tokens, and the bytes of the whole file."""

    model: str
    tokens: int
    size: int


@dataclass(frozen=True, slots=True)
class Block:
    """Tokens that follow one another in a prompt, and what was computed for them, in parts that follow one another."""

    tokens: tuple[int, ...]
    layout: Any
    payload: tuple[Buffer, ...]

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return sum(map(len, self.payload))


def pack_tokens(tokens: Sequence[int]) -> bytes:
    """Return tokens as little-endian int32."""
    packed = array("i", tokens)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def write_block(path: Path, block: Block, model: str) -> None:
    """Write a file that appears complete or not at all, readable by its owner only. Raises OSError.

    It is not forced to the disk: what a crash of the machine leaves of it fails its checksum.
    """
    header = {
        "version": VERSION,
        "model": model,
        "layout": block.layout,
        "tokens": len(block.tokens),
        "payload": block.size,
        "sha256": _digest(path.name, model, block),
    }
    start = b"".join((MAGIC, json.dumps(header, separators=(",", ":")).encode(), b"\n", pack_tokens(block.tokens)))
    descriptor, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for part in (start, *block.payload):
                _write_all(file, part)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_block(path: Path) -> Block:
    """Read and verify a file.

    Raises:
        OSError: if it cannot be read.
        StateError: if it is damaged.
    """
    with path.open("rb", buffering=_LONGEST_HEADER) as file:
        header = _header(file, path)
        try:
            count, size, layout = header["tokens"], header["payload"], header["layout"]
            model, expected = header["model"], header["sha256"]
            block = Block(_tokens(file, int(count), path), layout, (file.read(int(size)),))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path) from error
        if block.size != size or file.read(1) or _digest(path.name, model, block) != expected:
            raise _damaged(path)
    return block


def read_tokens(path: Path) -> tuple[int, ...]:
    """Return the tokens of a file without reading or verifying the rest. Raises OSError, StateError."""
    with path.open("rb") as file:
        header = _header(file, path)
        return _tokens(file, header["tokens"] if isinstance(header.get("tokens"), int) else -1, path)


def read_heading(path: Path) -> Heading:
    """Return what a file says of itself. Raises OSError, StateError."""
    with path.open("rb") as file:
        header = _header(file, path)
        model, tokens = header.get("model"), header.get("tokens")
        if not isinstance(model, str) or not isinstance(tokens, int):
            raise _damaged(path)
        return Heading(model, tokens, os.fstat(file.fileno()).st_size)


def _header(file: IO[bytes], path: Path) -> dict[str, Any]:
    if file.read(len(MAGIC)) != MAGIC:
        raise _damaged(path)
    try:
        header = parse_json(file.readline(_LONGEST_HEADER))
    except InvalidJSONError as error:
        raise _damaged(path) from error
    if not isinstance(header, dict) or header.get("version") != VERSION:
        raise _damaged(path)
    return header


def _tokens(file: IO[bytes], count: int, path: Path) -> tuple[int, ...]:
    data = file.read(4 * count) if 0 <= count <= _LONGEST_HEADER else b""
    if count < 0 or len(data) != 4 * count:
        raise _damaged(path)
    packed = array("i", data)
    if sys.byteorder == "big":
        packed.byteswap()
    return tuple(packed)


def _digest(name: str, model: str, block: Block) -> str:
    digest = hashlib.sha256(json.dumps([name, model, block.layout, len(block.tokens)]).encode())
    digest.update(pack_tokens(block.tokens))
    for part in block.payload:
        digest.update(part)
    return digest.hexdigest()


def _write_all(file: Any, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _damaged(path: Path) -> StateError:
    return StateError(f"{path} is damaged")
