"""Files that the user names, which must not exist, and which appear complete or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from llamacli.errors import LlamacliError, StorageError, UsageError

_unfinished: set[Path] = set()
"""The files that have no name yet."""


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield an empty file beside `target`, which gets that name when the block has ended well.

    Raises:
        UsageError: if `target` exists.
        StorageError: if it cannot be written, also for an OSError of the block.
    """
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists already", hint="choose another name, or remove the file first")
    part = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        part.touch(exist_ok=False)
        _unfinished.add(part)
        yield part
        _publish(part, target)
    except LlamacliError:  # some are an OSError as well
        raise
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        _remove(part)


def remove_unfinished() -> None:
    """Remove the files that will get no name, because the process ends at once."""
    for part in tuple(_unfinished):
        _remove(part)


def _remove(part: Path) -> None:
    with contextlib.suppress(OSError):
        part.unlink()
    _unfinished.discard(part)


def _publish(part: Path, target: Path) -> None:
    """Give the finished file its name, unless another process has taken that meanwhile."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(part, target)
    except FileExistsError:
        raise UsageError(f"{target} was created by another process meanwhile", hint="choose another name") from None
    except OSError:  # a file system without hard links
        part.rename(target)
