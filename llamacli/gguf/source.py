"""Sources of the bytes of a GGUF file."""

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
    """A file of known size with random access. `name` is short and safe to print."""

    @property
    def name(self) -> str:
        """The name of the file in messages."""
        ...

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        ...

    def read(self, offset: int, length: int, least: int | None = None) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end of the file.

        With `least`, that many are enough where more would need another request.
        """
        ...


class FileSource:
    """A file on this machine.

    Reads use `pread`, not a memory map: a mapped file that shrinks under the reader (a download that starts over, a network
    share that drops) kills the process with SIGBUS, and mapped pages count as resident memory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file.

        Raises:
            ModelNotFoundError: if the file does not exist.
            ModelFileError: if it cannot be opened, or is not a regular file.
        """
        self.path = os.fspath(path)
        self.name = short_name(self.path)
        self._descriptor = _open(self.path)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int, least: int | None = None) -> bytes:
        """Return up to `length` bytes from `offset`.

        Raises:
            ModelFileError: if the disk or network share fails.
        """
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise ModelFileError(f"{self.name}: cannot read byte {offset}: {error.strerror}", offset=offset) from error

    def close(self) -> None:
        """Close the file; does nothing the second time."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _open(path: str) -> int:
    """Return a descriptor of a regular file. Does not block on a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise _open_error(path, error) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise ModelFileError(f"{printable(path, 120)} is a directory", hint="give the path of the .gguf file in it")
        raise ModelFileError(f"{printable(path, 120)} is not a regular file", hint="save it as a file first")
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
            return ModelFileError(f"cannot open {shown}: permission denied", hint="check the file's owner and mode")
        case _:
            return ModelFileError(f"cannot open {shown}: {error.strerror}")
