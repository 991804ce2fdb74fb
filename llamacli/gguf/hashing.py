"""SHA-256 of a model's tensors and files, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llamacli.errors import ModelFileError
from llamacli.gguf.header import Header
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.source import Source

BLOCK = 4 << 20
"""Bytes read at a time."""


@dataclass(frozen=True, slots=True)
class Hashes:
    """Hexadecimal SHA-256 of each file, by its place, and of each tensor's data, by its name."""

    files: tuple[tuple[str, str], ...]
    tensors: tuple[tuple[str, str], ...]


def hash_model(files: ModelFiles, sources: Sequence[Source], on_progress: Callable[[int, int], None] | None = None) -> Hashes:
    """Hashes every file and tensor. `on_progress` is told the bytes done and the bytes in all.

    Raises ModelFileError if a tensor's data is not all there.
    """
    done = 0
    whole = []
    tensors: list[tuple[str, str]] = []
    for place, header, source in zip(files.places, files.parts, sources, strict=True):
        digest = _FileDigest(header)
        for start in range(0, header.size, BLOCK):
            block = source.read(start, BLOCK)
            digest.update(start, memoryview(block))
            done += len(block)
            if on_progress:
                on_progress(done, files.size)
        whole.append((place, digest.whole.hexdigest()))
        tensors += [(tensor.name, digest.tensors[tensor.name].hexdigest()) for tensor in header.tensors]
    return Hashes(tuple(whole), tuple(tensors))


class _FileDigest:
    """The digests of a file and its tensors while its blocks come in order. Tensors may overlap in a damaged file."""

    def __init__(self, header: Header) -> None:
        self.whole = hashlib.sha256()
        self.tensors = {tensor.name: hashlib.sha256() for tensor in header.tensors}
        self._waiting = sorted(((tensor.offset, tensor.size, tensor.name) for tensor in header.tensors), reverse=True)
        self._current: list[tuple[int, int, str]] = []
        if any(offset + size > header.size for offset, size, _ in self._waiting):
            problem = f"{header.name}: the file ends at byte {header.size}, before its last tensor"
            raise ModelFileError(problem, hint="it was cut short: download or copy it again", offset=header.size)

    def update(self, start: int, block: memoryview) -> None:
        """Takes the block of bytes that begins at `start`."""
        self.whole.update(block)
        end = start + len(block)
        while self._waiting and self._waiting[-1][0] < end:
            self._current.append(self._waiting.pop())
        for offset, size, name in self._current:
            self.tensors[name].update(block[max(offset - start, 0) : max(offset + size - start, 0)])
        self._current = [span for span in self._current if span[0] + span[1] > end]
