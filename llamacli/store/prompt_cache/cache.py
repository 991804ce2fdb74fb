"""The prompt cache: evaluated prompts on disk, in blocks that all prompts with the same beginning share.

A block has `BLOCK` tokens. Its key is a hash of the key before it and of its tokens, and the first key of a prompt is a hash of
everything that must be equal (the fingerprint): so equal keys mean equal prompts up to there. The rest of a prompt, which is
shorter, is a file beside the last block. Any number of processes may read and write at once: files appear whole, and never
change. A file that was removed meanwhile ends what is found.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llamacli.errors import StateError
from llamacli.store.files import paths
from llamacli.store.prompt_cache import BLOCK
from llamacli.store.prompt_cache.block_file import (
    UNFINISHED,
    Block,
    Heading,
    pack_tokens,
    read_block,
    read_heading,
    read_tokens,
    write_block,
)  # fmt: skip
from llamacli.values import dataclass

logger = logging.getLogger("llamacli.store")

LEAST_REST = 16
"""Least tokens behind the last block that are worth a file."""

DEFAULT_BYTES = 2 << 30
_SHARE_OF_FREE_DISK = 0.05
_MOST_FILES = 20_000
_ABANDONED_SECONDS = 600.0
_AFTER_PRUNING = 0.9
_THREADS = 2

_BLOCK_SUFFIX, _REST_SUFFIX = ".block", ".rest"


@dataclass(frozen=True, slots=True)
class Found:
    """The files that have the beginning of a prompt, in order, and the number of its tokens that they have."""

    files: tuple[Path, ...] = ()
    tokens: int = 0

    def cut(self, tokens: int) -> Found:
        """Return the full blocks of the first `tokens` tokens."""
        return Found(self.files[: tokens // BLOCK], tokens // BLOCK * BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept for a model's file: tokens, bytes, and when it was last used (seconds since 1970)."""

    model: str
    tokens: int
    size: int
    used: float


class PromptCache:
    """Evaluated prompts in a folder that belongs to this user alone. `limit` in bytes; None is `default_limit`."""

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = folder or paths.cache_dir() / "prompts"
        self._limit = limit

    def find(self, fingerprint: str, tokens: Sequence[int]) -> Found:
        """Return the files with the beginning of a prompt, unread."""
        folder = self._folder_of(fingerprint)
        if not folder.is_dir():
            return Found()
        files: list[Path] = []
        last = _first_key(fingerprint)
        for key in _keys(fingerprint, tokens):
            path = folder / f"{key}{_BLOCK_SUFFIX}"
            if not path.exists():
                break
            files.append(path)
            last = key
        count = BLOCK * len(files)
        if files and len(tokens) - count >= LEAST_REST:
            rest = folder / f"{last}{_REST_SUFFIX}"
            with contextlib.suppress(OSError, StateError):
                shared = _shared(read_tokens(rest), tokens[count : count + BLOCK])
                if shared >= LEAST_REST:
                    return Found((*files, rest), count + shared)
        return Found(tuple(files), count)

    def read(self, found: Found, tokens: Sequence[int]) -> list[Block]:
        """Read the files of a prompt, and return those blocks that are whole, up to the first that is not.

        A damaged file is removed. Their tokens are compared: the last block may go on in another way than the prompt.
        """
        with ThreadPoolExecutor(_THREADS) as threads:
            blocks = list(threads.map(self._read_one, found.files))
        whole: list[Block] = []
        for number, (path, block) in enumerate(zip(found.files, blocks, strict=True)):
            if block is None or (path.suffix == _BLOCK_SUFFIX and block.tokens != tuple(tokens[number * BLOCK :][:BLOCK])):
                break
            whole.append(block)
        self._touch(found.files[: len(whole)])
        return whole

    def write(
        self, fingerprint: str, tokens: Sequence[int], prompt: int, block_of: Callable[[int, int], Block], model: str
    ) -> None:
        """Write what is not kept yet of some tokens, the first `prompt` of which are a prompt.

        `block_of(start, end)` returns the block of these tokens. Others are removed if there are too many.

        Raises:
            OSError: if the folder cannot be used, the disk is full, and so on.
        """
        folder = self._make_folder(fingerprint)
        keys = list(_keys(fingerprint, tokens))
        pending = [(folder / f"{key}{_BLOCK_SUFFIX}", number * BLOCK, (number + 1) * BLOCK) for number, key in enumerate(keys)]
        full = prompt // BLOCK
        if full and prompt - full * BLOCK >= LEAST_REST:
            pending.append((folder / f"{keys[full - 1]}{_REST_SUFFIX}", full * BLOCK, prompt))

        def write(one: tuple[Path, int, int]) -> None:
            path, start, end = one
            if not path.exists() or (path.suffix == _REST_SUFFIX and not _has(path, tokens[start:end])):
                write_block(path, block_of(start, end), model)

        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(write, pending))
        self._touch([path for path, _, _ in pending])
        self.prune()

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

    # --- files ----------------------------------------------------------------------------------------------------------

    def _folder_of(self, fingerprint: str) -> Path:
        return self.folder / fingerprint[:32]

    def _make_folder(self, fingerprint: str) -> Path:
        """Make the folder for a fingerprint, for this user alone."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        about = self.folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
            raise OSError(f"{self.folder} is not a folder of this user")
        if stat.S_IMODE(about.st_mode) & 0o077:
            self.folder.chmod(0o700)
        folder = self._folder_of(fingerprint)
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
                        if entry.name.endswith((_BLOCK_SUFFIX, _REST_SUFFIX)):
                            yield about.st_mtime, about.st_size, Path(entry.path)
                        elif entry.name.startswith(UNFINISHED) and about.st_mtime < abandoned:
                            Path(entry.path).unlink()

    def _read_one(self, path: Path) -> Block | None:
        try:
            return read_block(path)
        except StateError as error:
            logger.debug("%s, and removed", error.message)
            with contextlib.suppress(OSError):
                path.unlink()
        except OSError as error:
            logger.debug("%s: %s", path, error.strerror)
        return None

    def _touch(self, files: Sequence[Path]) -> None:
        """Mark files of a prompt as used, the first one last: without it, the others cannot be found."""
        now = time.time_ns()
        for number, path in enumerate(files):
            with contextlib.suppress(OSError):
                os.utime(path, ns=(now - number, now - number))


def _first_key(fingerprint: str) -> str:
    return hashlib.sha256(fingerprint.encode()).hexdigest()


def _keys(fingerprint: str, tokens: Sequence[int]) -> Iterator[str]:
    """Yield the keys of the full blocks of a prompt."""
    key = _first_key(fingerprint)
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        key = hashlib.sha256(key.encode() + pack_tokens(tokens[start : start + BLOCK])).hexdigest()
        yield key


def _shared(tokens: Sequence[int], others: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(tokens, others, strict=False)) if a != b), min(len(tokens), len(others)))


def _has(path: Path, tokens: Sequence[int]) -> bool:
    """Return whether a file has just these tokens."""
    try:
        return read_tokens(path) == tuple(tokens)
    except (OSError, StateError):
        return False


def _is_of(path: Path, model: str) -> bool:
    try:
        return read_heading(path).model == model
    except (OSError, StateError):
        return False
