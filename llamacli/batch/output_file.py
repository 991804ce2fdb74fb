"""Output files that a run may resume: one writer at a time, and errors that name the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llamacli.errors import LlamacliError, StorageError


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold the lock of an output file, `NAME.lock` beside it, while the block runs. A killed process leaves no lock behind.

    On a file system without locks, or in a directory that cannot be written, the block runs without one.

    Raises:
        LlamacliError: if another process is writing the file, or its directory does not exist.
    """
    from filelock import FileLock, Timeout

    real = path.resolve()
    if not real.parent.is_dir():  # FileLock would create it
        raise LlamacliError(f"cannot write {path}: the directory {path.parent} does not exist")
    lock_path = real.with_name(real.name + ".lock")
    lock = FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LlamacliError(f"cannot write {path}: another process is writing it", hint="name another file") from None
    except (NotImplementedError, PermissionError):
        pass
    try:
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):
                lock_path.unlink(missing_ok=True)
            lock.release()


@contextmanager
def naming_file(path: Path, action: str = "write") -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names the file: `cannot write x.jsonl: File too large`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot {action} {path}: {error.strerror or error}") from error
