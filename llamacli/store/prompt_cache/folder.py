"""The folder of the prompt cache: its files, how many bytes they may have, and which of them are removed first."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from llamacli.errors import StateError
from llamacli.store.files import paths
from llamacli.store.prompt_cache.block_file import UNFINISHED, Heading, read_heading
from llamacli.values import dataclass

BLOCK_SUFFIX, REST_SUFFIX, STATE_SUFFIX = ".block", ".rest", ".state"
QUESTION_SUFFIX = ".question"

DEFAULT_BYTES = 2 << 30
_SHARE_OF_FREE_DISK = 0.05
_MOST_FILES = 20_000
_ABANDONED_SECONDS = 600.0
_AFTER_PRUNING = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept for a model's file: tokens, bytes, and when it was last used (seconds since 1970)."""

    model: str
    tokens: int
    size: int
    used: float


class PromptFolder:
    """A folder that belongs to this user alone. `limit` in bytes; None takes a share of what the disk has free."""

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = folder or paths.cache_dir() / "prompts"
        self._limit = limit

    def prune(self) -> None:
        """Remove the files that were not used for longest until the others fit, and what a killed process left unfinished."""
        files = sorted(self._files())
        size = sum(one for _, one, _ in files)
        limit = self.limit(size)
        if size <= limit and len(files) <= _MOST_FILES:
            return
        count = len(files)
        for _, one, path in files:
            if size <= _AFTER_PRUNING * limit and count <= _AFTER_PRUNING * _MOST_FILES:
                break
            path.unlink(missing_ok=True)
            size, count = size - one, count - 1

    def limit(self, used: int) -> int:
        """Return the bytes that all files may have; `used` of them are taken."""
        if self._limit is not None:
            return self._limit
        folder = next((one for one in (self.folder, *self.folder.parents) if one.exists()), self.folder)
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            free = 0
        return min(DEFAULT_BYTES, int(_SHARE_OF_FREE_DISK * (free + used)))

    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(size for _, size, _ in self._files())

    def kept(self) -> list[Kept]:
        """Return what is kept, by model; the last used first."""
        found: dict[str, list[tuple[Heading, float]]] = {}
        for used, _, path in self._files():
            with contextlib.suppress(OSError, StateError):
                heading = read_heading(path)
                found.setdefault(heading.model, []).append((heading, used))
        models = [
            Kept(
                model=model,
                tokens=sum(heading.tokens for heading, _ in files),
                size=sum(heading.size for heading, _ in files),
                used=max(used for _, used in files),
            )
            for model, files in found.items()
        ]
        return sorted(models, key=lambda one: -one.used)

    def clear(self, model: str | None = None) -> int:
        """Remove everything, or what is kept for a model's file; return the bytes. Raises OSError."""
        removed = 0
        for _, size, path in self._files():
            if model is None or _is_of(path, model):
                path.unlink(missing_ok=True)
                removed += size
        for folder in self._folders():
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
        return removed

    def folder_of(self, fingerprint: str) -> Path:
        """Return the folder for a fingerprint."""
        return self.folder / fingerprint[:32]

    def make_folder(self, fingerprint: str) -> Path:
        """Make the folder for a fingerprint, for this user alone, and return it. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        about = self.folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
            raise OSError(f"{self.folder} is not a folder of this user")
        if stat.S_IMODE(about.st_mode) & 0o077:
            self.folder.chmod(0o700)
        folder = self.folder_of(fingerprint)
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def _folders(self) -> list[Path]:
        try:
            return [Path(one.path) for one in os.scandir(self.folder) if one.is_dir(follow_symlinks=False)]
        except OSError:
            return []

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield when each file was last used, its bytes and its path; remove those that a killed process left."""
        abandoned = time.time() - _ABANDONED_SECONDS
        for folder in self._folders():
            with contextlib.suppress(OSError):
                for entry in os.scandir(folder):
                    with contextlib.suppress(OSError):
                        about = entry.stat(follow_symlinks=False)
                        if entry.name.endswith((BLOCK_SUFFIX, REST_SUFFIX, STATE_SUFFIX, QUESTION_SUFFIX)):
                            yield about.st_mtime, about.st_size, Path(entry.path)
                        elif entry.name.startswith(UNFINISHED) and about.st_mtime < abandoned:
                            Path(entry.path).unlink()

    def touch(self, files: Sequence[Path]) -> None:
        """Mark files of a prompt as used, the first one last: without it, the others cannot be found."""
        now = time.time_ns()
        for number, path in enumerate(files):
            with contextlib.suppress(OSError):
                os.utime(path, ns=(now - number, now - number))


def _is_of(path: Path, model: str) -> bool:
    try:
        return read_heading(path).model == model
    except (OSError, StateError):
        return False
