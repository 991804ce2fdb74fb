"""llama.cpp's files of log probabilities (`llama-perplexity --save-all-logits`), read and written.

A header with the length of a window, the size of the vocabulary, the number of windows and their tokens; then, for each window,
a row for each judged token: a scale and the smallest log probability as floats, and every log probability as 16 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from llamacli.bench.quality.scores import Floats, log_softmax
from llamacli.errors import LlamacliError, UsageError

_MAGIC = b"_logits_"
_HEADER = struct.Struct("<8siii")
_STEPS = 65535
_DEPTH = 16.0
"""Log probabilities are kept down to this much below the largest."""

_MOST_TOKENS = 1 << 28


@dataclass(frozen=True, slots=True)
class LogitsFile:
    """A file of log probabilities, checked to be as long as its header says. `tokens` are those of all windows."""

    path: Path
    n_ctx: int
    n_vocab: int
    windows: int
    tokens: tuple[int, ...]

    @property
    def _row(self) -> int:
        return _row_items(self.n_vocab)

    @property
    def _judged(self) -> int:
        return self.n_ctx - 1 - self.n_ctx // 2

    def reference(self, window: int) -> StoredReference:
        """Return the distributions of one window. Raises LlamacliError if they cannot be read."""
        rows = self._judged
        start = _HEADER.size + 4 * len(self.tokens) + window * rows * self._row * 2
        try:
            data = np.fromfile(self.path, np.uint16, rows * self._row, offset=start)
        except OSError as error:
            raise LlamacliError(f"cannot read {self.path}: {error.strerror or error}") from error
        if len(data) != rows * self._row:
            raise UsageError(f"{self.path} ends in window {window + 1}")
        return StoredReference(data.reshape(rows, self._row), self.n_vocab)


@dataclass(frozen=True, slots=True)
class StoredReference:
    """The distributions of a window in a file."""

    rows: NDArray[np.uint16]
    n_vocab: int

    def log_probabilities(self, begin: int, end: int) -> Floats:
        """Return the log probabilities of these rows."""
        packed = self.rows[begin:end]
        limits = np.ascontiguousarray(packed[:, :4]).view(np.float32)
        values = packed[:, 4 : 4 + self.n_vocab].astype(np.float32)
        values *= limits[:, :1]
        values += limits[:, 1:]
        return values


def is_logits_file(path: Path) -> bool:
    """Return whether the path is a file that begins like one of log probabilities."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_logits_file(path: Path) -> LogitsFile:
    """Read the header of a file.

    Raises:
        UsageError: if it cannot be read, or is not whole.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size or not head.startswith(_MAGIC):
                raise UsageError(f"{path} is neither a model nor a file of log probabilities")
            _, n_ctx, n_vocab, windows = _HEADER.unpack(head)
            if n_ctx < 4 or n_vocab < 1 or windows < 1 or n_ctx * windows > _MOST_TOKENS:
                raise UsageError(f"{path}: the header of log probabilities is corrupt")
            judged = n_ctx - 1 - n_ctx // 2
            if size != _HEADER.size + 4 * n_ctx * windows + 2 * windows * judged * _row_items(n_vocab):
                raise UsageError(f"{path} is not whole: its header says that it has {windows} windows of {n_ctx} tokens")
            tokens = np.frombuffer(file.read(4 * n_ctx * windows), "<i4")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if tokens.min() < 0 or tokens.max() >= n_vocab:
        raise UsageError(f"{path}: it has tokens outside its vocabulary")
    return LogitsFile(path, n_ctx, n_vocab, windows, tuple(tokens.tolist()))


class LogitsWriter:
    """Writes a file of log probabilities. `tokens` are the text's, before the first of each window was replaced."""

    def __init__(self, file: IO[bytes], n_ctx: int, n_vocab: int, tokens: Sequence[int]) -> None:
        self._file = file
        self._row = _row_items(n_vocab)
        file.write(_HEADER.pack(_MAGIC, n_ctx, n_vocab, len(tokens) // n_ctx))
        file.write(np.asarray(tokens, "<i4").tobytes())

    def add(self, logits: Floats, pool: Executor) -> None:
        """Write the rows of a window, or the next of them."""
        strip = 16
        for packed in pool.map(lambda begin: self._pack(logits[begin : begin + strip]), range(0, len(logits), strip)):
            self._file.write(packed.tobytes())

    def _pack(self, logits: Floats) -> NDArray[np.uint16]:
        values = log_softmax(logits)
        largest = values.max(axis=1, keepdims=True)
        smallest = np.maximum(values.min(axis=1, keepdims=True), largest - np.float32(_DEPTH))
        scale = (largest - smallest) / np.float32(_STEPS)
        values -= smallest
        np.divide(values, scale, out=values, where=scale > 0)
        packed = np.zeros((len(logits), self._row), np.uint16)
        packed[:, 4 : 4 + values.shape[1]] = np.where(scale > 0, np.rint(np.clip(values, 0, _STEPS)), 0)
        packed[:, :4] = np.concatenate([scale, smallest], axis=1).astype(np.float32).view(np.uint16)
        return packed


def _row_items(n_vocab: int) -> int:
    return 2 * ((n_vocab + 1) // 2) + 4
