"""Files appear whole or not at all: one writer at a time, a staging place in the same folder, then a rename."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from llamacli.errors import DownloadError
from llamacli.store.files import paths
from llamacli.store.files.progress import OnProgress, Progress, silent

CHUNK = 1 << 20


@contextmanager
def exclusive(target: Path, on_progress: OnProgress, *, name: str | None = None) -> Iterator[None]:
    """Let one process at a time make `target`; the others wait, and then find it made. Creates the folder.

    `name` is that of the lock file, where other programs have agreed on one.
    """
    from filelock import FileLock, Timeout

    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.parent / (name or f".{target.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_progress(Progress(f"waiting for another process that fetches {target.name}", 0, None))
            lock.acquire()
        except NotImplementedError:
            pass  # a file system without locks; files appear whole all the same
    try:
        yield
    finally:
        lock.release()


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, gone afterwards. What a killed process left there is removed first.

    Call it inside `exclusive(target)`: the name is always the same, so that nothing piles up.
    """
    folder = target.parent / f".{target.name}.partial"
    shutil.rmtree(folder, ignore_errors=True)
    with disk_errors(target):
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(part: Path, target: Path) -> Path:
    """Give the finished `part` its name. Afterwards `target` is there whole, even if the machine stops now."""
    with disk_errors(target):
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
        _sync_folder(target.parent)
    return target


def copy_verified(source: IO[bytes], target: Path, *, size: int, sha256: str, what: str, on_progress: OnProgress) -> None:
    """Write `source` to `target` and check it. Raises DownloadError if it is not `size` bytes with that hash."""
    digest = hashlib.sha256()
    done = 0
    with disk_errors(target), target.open("wb") as out:
        while done <= size and (chunk := source.read(CHUNK)):
            out.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            on_progress(Progress(what, min(done, size), size))
    if done != size or digest.hexdigest() != sha256:
        raise DownloadError(f"{what}: the contents are not those that were published", hint="nothing was kept; try again")


def file_sha256(path: Path, *, what: str = "", on_progress: OnProgress = silent) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        done = 0
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            on_progress(Progress(what, done, total))
    return digest.hexdigest()


def require_hash(path: Path, *, size: int, sha256: str, what: str) -> None:
    """Raise DownloadError unless the file has this size and hash."""
    if path.stat().st_size != size or file_sha256(path) != sha256:
        raise DownloadError(f"{what}: the result is not the one that is expected", hint="nothing was kept; try again")


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise DownloadError, with both figures, unless `needed` bytes are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{what} needs {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free in {folder}",
            hint=f"free some space, or set {_mover(folder)} to a folder on another disk",
        )


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn what the operating system says about a full or read-only disk into a DownloadError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = f"free some space, or set {_mover(target)}" if full else f"set {_mover(target)} to a folder you may write to"
        raise DownloadError(f"cannot write {target}: {error.strerror or error}", hint=hint) from error


def _mover(path: Path) -> str:
    """The variable that moves the place where `path` is."""
    return "HF_HOME" if path.is_relative_to(paths.hub_cache()) else "LLAMACLI_DATA_DIR"


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, and a rename is durable by itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
