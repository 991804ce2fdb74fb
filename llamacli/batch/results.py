"""The results of a run over rows, in a file that an interrupted run can resume."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from llamacli.batch.output_file import naming_file, sole_writer
from llamacli.errors import InvalidJSONError, UsageError
from llamacli.json_text import parse_json

MAX_ROWS = 1 << 32
"""More rows than any input has. A larger number in a file is not a row's."""

_BEGINNINGS = (b'{"row": ', b'{"id": "batch_req_')
_TORN = re.compile(rb'\{"row": \d+(,|\Z)|\{"id": "batch_req_\d+(",|"?\Z)')
"""Beginnings of a result, to tell a torn result, even one torn within its beginning, from foreign text."""


class ResultFile:
    """Results as JSON lines. A reader of the file never sees half a result, except a torn last line after a crash.

    With `resume`, `kept` is the number of rows that the file held when it was opened, and `failed` the number of failed rows
    among them; a last line torn by a crash or a full disk is cut off first. No other process can open the file as a ResultFile
    until this one is closed.
    """

    def __init__(self, path: Path | None, write: Callable[[bytes], None], *, resume: bool = False) -> None:
        """Open the file for results, or send them to `write` if `path` is None.

        Raises:
            UsageError: if the file cannot be opened, has content and `resume` is False, or has content other than results.
            LlamacliError: if another process is writing it.
        """
        self._done: dict[int, int] = {}  # by row // 64, a bit for each row: a file names any row that it likes
        self.kept = self.failed = 0
        self._highest = -1
        self._is_sorted = True
        self._is_torn = False  # nothing may follow a torn line: only at the end it can be told from corruption
        self._file: io.FileIO | None = None
        self._path = path
        self._write = write
        self._lock = ExitStack()
        if path is None:
            return
        self._file = _open(path)
        try:
            if _is_regular(self._file):
                self._lock.enter_context(sole_writer(path))
                self._file.close()
                self._file = _open(path)  # again: before the lock was held, another process may have replaced the file
                self._start(path, resume=resume)
        except BaseException:
            self._file.close()
            self._lock.close()
            raise
        self._write = self._write_whole

    def _start(self, path: Path, *, resume: bool) -> None:
        if resume:
            with naming_file(path):
                self._repair(path)
        elif path.stat().st_size:
            raise UsageError(
                f"{path} already has content", hint="resume continues it; or name another file", parameter="resume"
            )

    def _write_whole(self, data: bytes) -> None:
        if self._file is None or self._path is None or self._is_torn:
            return
        view = memoryview(data)
        self._is_torn = True
        with naming_file(self._path):
            while view:
                view = view[self._file.write(view) or 0 :]
        self._is_torn = False

    def _repair(self, path: Path) -> None:
        """Read the results in the file, and cut off a torn one at the end."""
        whole = 0
        with path.open("r+b") as file:
            for line in iter(file.readline, b""):
                found = read_result(line)
                if found is None:
                    if line.endswith(b"\n") or not (_TORN.match(line) or any(b.startswith(line) for b in _BEGINNINGS)):
                        raise UsageError(f"{path} is not a file of results: a line has no row number")
                    file.truncate(whole)
                    return
                self._mark(*found)
                whole += len(line)
                if not line.endswith(b"\n"):  # only the line's end is missing
                    file.seek(whole)
                    file.write(b"\n")

    def _mark(self, number: int, failed: bool) -> None:
        self._observe(number)
        if not self.holds(number):
            self.kept += 1
            self.failed += failed
            self._done[number >> 6] = self._done.get(number >> 6, 0) | 1 << (number & 63)

    def _observe(self, number: int) -> None:
        self._is_sorted = self._is_sorted and number > self._highest
        self._highest = max(self._highest, number)

    def holds(self, number: int) -> bool:
        """Return whether the file held the result of this row when it was opened."""
        return bool(self._done.get(number >> 6, 0) >> (number & 63) & 1)

    def write(self, result: dict[str, Any]) -> None:
        """Append a result, unbuffered.

        Raises:
            LlamacliError: if it cannot be written. The next `resume` repairs a torn line.
        """
        self._observe(result["row"])
        try:
            data = json.dumps(result, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and UTF-8 cannot
            data = json.dumps(result).encode()
        self._write(data + b"\n")

    def put_in_order(self) -> None:
        """Sort the file by row, unless it is sorted, and replace it atomically. Takes 24 bytes of memory per row.

        Raises:
            LlamacliError: if the sorted copy cannot be written. The file is then unchanged.
        """
        if self._file is None or self._path is None or self._is_sorted or not _is_regular(self._file):
            return
        path = self._path.resolve()
        part = path.with_name(f".{path.name}.sorted")
        with naming_file(path, "put the results in order in"):
            try:
                part.unlink(missing_ok=True)  # a killed process may have left it
                _copy_sorted(path, part)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        self._is_sorted = True

    def close(self) -> None:
        """Flush the file to disk and release its lock. Raises LlamacliError if the disk reports an error."""
        if self._file is None or self._file.closed or self._path is None:
            return
        with self._lock, naming_file(self._path):
            try:
                if _is_regular(self._file):
                    os.fsync(self._file.fileno())
            finally:
                self._file.close()


def _open(path: Path) -> io.FileIO:
    try:
        return io.FileIO(path, "ab")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def _is_regular(file: io.FileIO) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _copy_sorted(path: Path, part: Path) -> None:
    """Write the lines of `path` to the new file `part` by row. Lines of the same row keep their order."""
    import numpy as np

    numbers, offsets, offset = array("q"), array("q"), 0
    with path.open("rb") as source, part.open("xb") as target:
        for line in source:
            found = read_result(line)
            numbers.append(found[0] if found is not None else MAX_ROWS)
            offsets.append(offset)
            offset += len(line)
        for index in np.argsort(np.frombuffer(numbers, dtype=np.int64), kind="stable"):
            source.seek(offsets[index])
            target.write(source.readline())
        target.flush()
        os.fsync(target.fileno())
    shutil.copymode(path, part)


def read_result(line: bytes) -> tuple[int, bool] | None:
    """Return the row of a result and whether it failed, or None if the line is not a result."""
    try:
        document = parse_json(line)
        number = document["row"]
        failed = document.get("error") is not None
    except (InvalidJSONError, TypeError, KeyError, AttributeError):
        return None
    is_row = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < MAX_ROWS
    return (number, failed) if is_row else None
