"""The files of a folder that are indexed, with their sizes and times: neither hidden nor ignored, as for `-f -r`.

Symbolic links are not followed: there are no loops, and no file is found twice.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llamacli.documents.ignore import Ignored


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file, with its size and the time of its last change in nanoseconds."""

    path: str
    size: int
    mtime: int


@dataclass(slots=True)
class FolderScan:
    """The files below a folder, an absolute path. `unreadable` are the folders that could not be read.

    `skips` are files that are never found: the index itself.
    """

    folder: str
    skips: frozenset[str] = frozenset()
    unreadable: list[str] = field(default_factory=list)

    def files(self) -> Iterator[FoundFile]:
        """Yield the files, in the order of their paths within each folder."""
        yield from self._files(self.folder, Ignored.above(Path(self.folder)))

    def _files(self, folder: str, above: Ignored) -> Iterator[FoundFile]:
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            self.unreadable.append(folder)
            return
        ignored = above.within(Path(folder))
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name.startswith(".") or entry.path in self.skips or ignored.covers(entry.path, is_folder=is_folder):
                continue
            if is_folder:
                yield from self._files(entry.path, ignored)
            else:
                yield from _file(entry.path)


def file_at(path: str) -> FoundFile | None:
    """Return the regular file at a path, None if there is none."""
    return next(_file(path), None)


def _file(path: str) -> Iterator[FoundFile]:
    try:
        status = os.lstat(path)
    except OSError:  # gone meanwhile
        return
    if stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        yield FoundFile(path, status.st_size, status.st_mtime_ns)
