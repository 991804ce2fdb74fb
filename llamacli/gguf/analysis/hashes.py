"""SHA-256 of a model's tensors and files in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llamacli.errors import ModelFileError
from llamacli.gguf.header import Header, TensorInfo
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.source import Source

BLOCK = 1 << 20
"""Number of bytes per read."""


@dataclass(frozen=True, slots=True)
class Hashes:
    """Pairs of a file's location or a tensor's name, and the hexadecimal SHA-256 of its data."""

    files: tuple[tuple[str, str], ...]
    tensors: tuple[tuple[str, str], ...]


def hash_model(files: ModelFiles, sources: Sequence[Source], on_progress: Callable[[int, int], None] | None = None) -> Hashes:
    """Hash every file and tensor. `on_progress` receives the bytes hashed and the total.

    Raises:
        ModelFileError: if a file is truncated.
    """
    done = 0
    whole = []
    tensors: list[tuple[str, str]] = []
    for location, header, source in zip(files.locations, files.parts, sources, strict=True):
        digest = _FileDigest(header)
        for start in range(0, header.size, BLOCK):
            block = source.read(start, BLOCK)
            digest.update(start, memoryview(block))
            done += len(block)
            if on_progress:
                on_progress(done, files.size)
        digest.finish()
        whole.append((location, digest.whole.hexdigest()))
        tensors += [(tensor.name, digest.tensors[tensor.name]) for tensor in header.tensors]
    return Hashes(tuple(whole), tuple(tensors))


class _FileDigest:
    """Digests of a file and its tensors, updated block by block in order. Tensors of a corrupt file may overlap."""

    def __init__(self, header: Header) -> None:
        self.whole = hashlib.sha256()
        self.tensors: dict[str, str] = {}
        self._waiting = sorted(header.tensors, key=lambda tensor: tensor.offset, reverse=True)
        self._current: list[tuple[TensorInfo, Any]] = []
        if any(tensor.offset + tensor.size > header.size for tensor in header.tensors):
            problem = f"{header.name}: the file ends at byte {header.size}, before its last tensor"
            raise ModelFileError(problem, hint="it is truncated: download or copy it again", offset=header.size)

    def update(self, start: int, block: memoryview) -> None:
        """Add the block of bytes that begins at `start`."""
        self.whole.update(block)
        end = start + len(block)
        while self._waiting and self._waiting[-1].offset < end:
            self._current.append((self._waiting.pop(), hashlib.sha256()))
        unfinished = []
        for tensor, digest in self._current:
            last = tensor.offset + tensor.size
            digest.update(block[max(tensor.offset - start, 0) : max(last - start, 0)])
            if last > end:
                unfinished.append((tensor, digest))
            else:
                self.tensors[tensor.name] = digest.hexdigest()
        self._current = unfinished

    def finish(self) -> None:
        """Add the empty tensors at the end of the file, after the last block."""
        for tensor in self._waiting:
            self.tensors[tensor.name] = hashlib.sha256().hexdigest()
