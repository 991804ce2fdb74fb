"""The file of results of a run over rows, which an interrupted run can go on with."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llamacli.errors import LlamacliError, UsageError

if sys.platform != "win32":
    import fcntl

MOST_ROWS = 1 << 32
"""More than any input has: a larger number is none of a row."""

_BEGINNINGS = (b'{"row": ', b'{"id": "batch_req_')
_TORN = re.compile(rb'\{"row": \d+(,|\Z)|\{"id": "batch_req_\d+(",|"?\Z)')
"""How results begin, so that one that is torn, be it within its beginning, is told from what is not ours."""


class ResultFile:
    """Results as JSON lines, each whole or not there at all as far as anybody who reads later can tell.

    With `resume`, `kept` is how many rows the file held when it was opened, and `failed` how many of them failed: a last line
    that was torn by a crash or a full disk is cut off first. No other process can open the file as this until it is closed.
    """

    def __init__(self, path: Path | None, write: Callable[[bytes], None], *, resume: bool = False) -> None:
        """Results go to the file, or through `write` if there is none.

        Raises:
            UsageError: the file holds something and `resume` was not asked for, or what it holds are no results, or it cannot
                be opened.
            LlamacliError: another process writes it.
        """
        self._done = bytearray()
        self.kept = self.failed = 0
        self._highest = -1
        self._is_sorted = True
        self._is_torn = False  # after that nothing may follow: one torn line at the end can be told from a damaged file
        self._file: io.FileIO | None = None
        self._path = path
        self._write = write
        if path is None:
            return
        try:
            self._file = io.FileIO(path, "ab")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
        try:
            self._begin(self._file, path, resume=resume)
        except BaseException:
            self._file.close()
            raise
        self._write = self._write_whole

    def _begin(self, file: io.FileIO, path: Path, *, resume: bool) -> None:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return
        _lock(file, path)
        if resume:
            with _told(path):
                self._repair(path)
        elif path.stat().st_size:
            raise UsageError(f"{path} holds something already", hint="--resume goes on with it; or name another file")

    def _write_whole(self, data: bytes) -> None:
        if self._file is None or self._path is None or self._is_torn:
            return
        view = memoryview(data)
        self._is_torn = True
        with _told(self._path):
            while view:
                view = view[self._file.write(view) or 0 :]
        self._is_torn = False

    def _repair(self, path: Path) -> None:
        """Reads the results that are there, and cuts off one that is torn at the end."""
        whole = 0
        with path.open("r+b") as file:
            for line in iter(file.readline, b""):
                found = _read_result(line)
                if found is None:
                    if line.endswith(b"\n") or not (_TORN.match(line) or any(b.startswith(line) for b in _BEGINNINGS)):
                        raise UsageError(f"{path} is no file of results: a line of it has no row number")
                    file.truncate(whole)
                    return
                self._mark(*found)
                whole += len(line)
                if not line.endswith(b"\n"):  # its end alone is missing
                    file.seek(whole)
                    file.write(b"\n")

    def _mark(self, number: int, failed: bool) -> None:
        self._see(number)
        if number >= len(self._done) * 8:
            self._done.extend(bytes(number // 8 + 1 - len(self._done)))
        if not self.holds(number):
            self.kept += 1
            self.failed += failed
        self._done[number // 8] |= 1 << number % 8

    def _see(self, number: int) -> None:
        self._is_sorted = self._is_sorted and number > self._highest
        self._highest = max(self._highest, number)

    def holds(self, number: int) -> bool:
        """Whether a row's result was there when the file was opened."""
        return number < len(self._done) * 8 and bool(self._done[number // 8] >> number % 8 & 1)

    def write(self, result: dict[str, Any]) -> None:
        """Adds a result; it has left the program when this returns.

        Raises:
            LlamacliError: it cannot be written. What was torn is repaired by the next `resume`.
        """
        self._see(result["row"])
        try:
            data = json.dumps(result, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half a surrogate pair, which JSON can say and UTF-8 cannot
            data = json.dumps(result).encode()
        self._write(data + b"\n")

    def put_in_order(self) -> None:
        """Sorts the file by rows if it is not in their order: whole or not at all. Takes 24 bytes of memory for a row.

        Raises:
            LlamacliError: a sorted copy cannot be written; the file is as it was.
        """
        if self._file is None or self._path is None or self._is_sorted:
            return
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            return
        path = self._path.resolve()
        part = path.with_name(f".{path.name}.sorted")
        with _told(path, "put the results in order in"):
            try:
                part.unlink(missing_ok=True)  # what a killed process left
                _copy_sorted(path, part)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        self._is_sorted = True

    def close(self) -> None:
        """Makes sure that everything is on the disk. Raises LlamacliError if it is not."""
        if self._file is None or self._file.closed or self._path is None:
            return
        with _told(self._path):
            try:
                if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                    os.fsync(self._file.fileno())
            finally:
                self._file.close()


@contextmanager
def _told(path: Path, doing: str = "write") -> Iterator[None]:
    """Turns what the operating system says into an error that names the file."""
    try:
        yield
    except OSError as error:
        raise LlamacliError(f"cannot {doing} {path}: {error.strerror or error}") from error


def _lock(file: io.FileIO, path: Path) -> None:
    """Keeps other processes out until the file is closed, where files can be locked."""
    busy = LlamacliError(f"cannot write {path}: another process is writing it", hint="name another file")
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise busy from None
    except OSError:  # a file system without locks
        return
    if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
        raise busy  # it was put in order between our opening it and our lock


def _copy_sorted(path: Path, part: Path) -> None:
    """Writes the lines of `path` to `part`, which is not there yet, by their rows. Lines of one row keep their order."""
    import numpy as np

    numbers, offsets, offset = array("q"), array("q"), 0
    with path.open("rb") as source, part.open("xb") as target:
        for line in source:
            found = _read_result(line)
            numbers.append(found[0] if found is not None else MOST_ROWS)
            offsets.append(offset)
            offset += len(line)
        for index in np.argsort(np.frombuffer(numbers, dtype=np.int64), kind="stable"):
            source.seek(offsets[index])
            target.write(source.readline())
        target.flush()
        os.fsync(target.fileno())
    shutil.copymode(path, part)


def _read_result(line: bytes) -> tuple[int, bool] | None:
    """The row of a result and whether it failed; None if the line is no result."""
    try:
        document = json.loads(line)
        number = document["row"]
        failed = document.get("error") is not None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    is_row = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < MOST_ROWS
    return (number, failed) if is_row else None
