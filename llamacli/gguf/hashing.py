"""SHA-256 of a model's tensors and files, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llamacli.errors import ModelFileError
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
    total = files.size
    done = 0
    whole = []
    tensors: list[tuple[str, str]] = []
    for place, header, source in zip(files.places, files.parts, sources, strict=True):
        spans = sorted((tensor.offset, tensor.size, tensor.name) for tensor in header.tensors)
        if any(offset + size > header.size for offset, size, _ in spans):
            raise ModelFileError(
                f"{header.name}: the file ends at byte {header.size}, before its last tensor", offset=header.size
            )
        digests = {name: hashlib.sha256() for _, _, name in spans}
        file_digest = hashlib.sha256()
        first = 0
        for start in range(0, header.size, BLOCK):
            block = memoryview(source.read(start, BLOCK))
            end = start + len(block)
            file_digest.update(block)
            while first < len(spans) and spans[first][0] + spans[first][1] <= start:
                first += 1
            for offset, size, name in spans[first:]:
                if offset >= end:
                    break
                digests[name].update(block[max(offset - start, 0) : max(offset + size - start, 0)])
            done += len(block)
            if on_progress:
                on_progress(done, total)
        whole.append((place, file_digest.hexdigest()))
        tensors += [(tensor.name, digests[tensor.name].hexdigest()) for tensor in header.tensors]
    return Hashes(tuple(whole), tuple(tensors))
