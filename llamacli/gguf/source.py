"""Where the bytes of a GGUF file come from."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from llamacli.errors import ModelError, ModelFileError, ModelNotFoundError
from llamacli.gguf.text import printable, short_name


class Source(Protocol):
    """A file of known size, read at any place. `name` is short and safe to print."""

    @property
    def name(self) -> str:
        """The file's name for messages."""
        ...

    @property
    def size(self) -> int:
        """Bytes in the file."""
        ...

    def read(self, offset: int, length: int, least: int | None = None) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end of the file.

        With `least`, that many are enough where more would take another request.
        """
        ...


class FileSource:
    """A file on this machine.

    It is read in windows with `pread`, and not through a memory map: a mapped file that shrinks under the reader (a download
    that starts over, a network share that drops) kills the process with SIGBUS, and mapped pages count as resident memory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens the file. Raises ModelNotFoundError or ModelFileError with the likely cause."""
        self.path = os.fspath(path)
        self.name = short_name(self.path)
        self._descriptor = _open(self.path)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int, least: int | None = None) -> bytes:
        """Up to `length` bytes from `offset`. Raises ModelFileError if the disk or share fails."""
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise ModelFileError(f"{self.name}: cannot read byte {offset}: {error.strerror}", offset=offset) from error

    def close(self) -> None:
        """Closes the file; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class MemorySource:
    """A file that is in memory already."""

    def __init__(self, data: bytes, name: str = "memory") -> None:
        self.data = data
        self.name = short_name(name)
        self.size = len(data)

    def read(self, offset: int, length: int, least: int | None = None) -> bytes:
        """Up to `length` bytes from `offset`."""
        return self.data[offset : offset + length]


def _open(path: str) -> int:
    """A descriptor of a regular file. Opening does not block on a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise _open_error(path, error) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise ModelFileError(f"{printable(path, 120)} is a directory", hint="name the .gguf file in it")
        raise ModelFileError(f"{printable(path, 120)} is not a regular file", hint="save it to a file first")
    return descriptor


def _open_error(path: str, error: OSError | ValueError) -> ModelError:
    shown = printable(path, 120)
    if isinstance(error, ValueError):
        return ModelNotFoundError(f"no such model file: {shown}")
    match error.errno:
        case errno.ENOENT if Path(path).is_symlink():
            return ModelNotFoundError(f"{shown} is a link to a file that does not exist")
        case errno.ENOENT | errno.ENOTDIR | errno.ENAMETOOLONG:
            return ModelNotFoundError(f"no such model file: {shown}")
        case errno.EACCES | errno.EPERM:
            return ModelFileError(f"no permission to read {shown}", hint="check the file's owner and mode")
        case _:
            return ModelFileError(f"cannot open {shown}: {error.strerror}")
