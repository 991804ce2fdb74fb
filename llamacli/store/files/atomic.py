"""Atomic creation of files: one writer at a time, a staging folder beside the target, then a rename."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from llamacli.errors import DownloadError
from llamacli.store.files import paths
from llamacli.store.files.progress import OnProgress, Progress, ignore_progress
from llamacli.units import format_bytes

CHUNK = 1 << 20


@contextmanager
def exclusive(target: Path, on_progress: OnProgress, *, name: str | None = None) -> Iterator[None]:
    """Hold the lock on creating `target`; other processes wait for it. Creates the folder.

    `name` is the name of the lock file, for locks shared with other programs.
    """
    from filelock import FileLock, Timeout

    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.parent / (name or f".{target.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_progress(Progress(f"waiting for another process that is downloading {target.name}", 0, None))
            lock.acquire()
        except NotImplementedError:
            pass  # a file system without locks: the rename is atomic all the same
    try:
        yield
    finally:
        lock.release()


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, removed afterwards. Leftovers of a killed process are removed first.

    Call it inside `exclusive(target)`: the name is always the same, so that leftovers do not accumulate.
    """
    folder = target.parent / f".{target.name}.partial"
    shutil.rmtree(folder, ignore_errors=True)
    with disk_errors(target):
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_file(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all, durably and readable by its owner only. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def publish(part: Path, target: Path) -> Path:
    """Rename the finished `part` to `target`, durably: `target` survives a crash of the machine."""
    with disk_errors(target):
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
        _sync_folder(target.parent)
    return target


def copy_verified(source: IO[bytes], target: Path, *, size: int, sha256: str, label: str, on_progress: OnProgress) -> None:
    """Write `source` to `target` and verify it. Raises DownloadError unless it is `size` bytes with that hash."""
    digest = hashlib.sha256()
    done = 0
    with disk_errors(target), target.open("wb") as out:
        while done <= size and (chunk := source.read(CHUNK)):
            out.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            on_progress(Progress(label, min(done, size), size))
    if done != size or digest.hexdigest() != sha256:
        raise content_mismatch(label)


def content_mismatch(label: str) -> DownloadError:
    """The error for content that differs from its published size or checksum."""
    return DownloadError(f"{label}: the content does not match the published checksum", hint="nothing was kept; try again")


def file_sha256(path: Path, *, label: str = "", on_progress: OnProgress = ignore_progress) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        done = 0
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            on_progress(Progress(label, done, total))
    return digest.hexdigest()


def require_hash(path: Path, *, size: int, sha256: str, label: str) -> None:
    """Raise DownloadError unless the file has this size and hash."""
    if path.stat().st_size != size or file_sha256(path) != sha256:
        raise DownloadError(f"{label}: the result does not match the expected checksum", hint="nothing was kept; try again")


def require_space(folder: Path, needed: int, label: str) -> None:
    """Raise DownloadError unless `needed` bytes are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{label} needs {format_bytes(needed)}, but only {format_bytes(free)} are free in {folder}",
            hint=f"free some space, or set {_location_variable(folder)} to a folder on another disk",
        )


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Translate errors of the operating system about a full or read-only disk into DownloadError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        variable = _location_variable(target)
        hint = f"free some space, or set {variable}" if full else f"set {variable} to a writable folder"
        raise DownloadError(f"cannot write {target}: {error.strerror or error}", hint=hint) from error


def _location_variable(path: Path) -> str:
    """The environment variable that sets the folder `path` belongs to."""
    return "HF_HOME" if path.is_relative_to(paths.hub_cache()) else "LLAMACLI_DATA_DIR"


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open a folder, and a rename is durable there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
