"""The prompt cache: evaluated prompts on disk, in blocks that all prompts with the same beginning share.

A block has `BLOCK` tokens. Its key is a hash of the key before it and of its tokens, and the first key of a prompt is a hash of
everything that must be equal (the fingerprint): so equal keys mean equal prompts up to there. The rest of a prompt, which is
shorter, is a file beside the last block. Any number of processes may read and write at once: files appear whole, and never
change. A file that was removed meanwhile ends what is found.

A state that cannot be cut at any token is a file for each number of tokens from which a prompt can go on. Its name is made of
the key of the blocks before, the number of its tokens and their hash.

What a prompt is made of, a question, is known before its tokens are. A file for each question names those that had its prompt
the last time, so that they can be read meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from llamacli.errors import StateError
from llamacli.store.prompt_cache import BLOCK
from llamacli.store.prompt_cache.block_file import Block, pack_tokens, read_block, read_tokens, write_block
from llamacli.store.prompt_cache.folder import BLOCK_SUFFIX, QUESTION_SUFFIX, REST_SUFFIX, STATE_SUFFIX, PromptFolder
from llamacli.values import dataclass

logger = logging.getLogger("llamacli.store")

LEAST_REST = 16
"""Least tokens behind the last block that are worth a file."""

_THREADS = 2
_FILE_NAME = re.compile(r"[0-9a-f]{1,64}/[0-9a-f-]{1,256}\.(block|rest)")

Maker = Callable[[int, int], Block]
"""Returns the block of the tokens from a number up to another."""


@dataclass(frozen=True, slots=True)
class Found:
    """The files that have the beginning of a prompt, in order, and the number of its tokens that they have."""

    files: tuple[Path, ...] = ()
    tokens: int = 0

    def cut(self, tokens: int) -> Found:
        """Return the full blocks of the first `tokens` tokens."""
        return Found(self.files[: tokens // BLOCK], tokens // BLOCK * BLOCK)


class PromptCache(PromptFolder):
    """Evaluated prompts in a folder (see `PromptFolder`)."""

    def find(self, fingerprint: str, tokens: Sequence[int]) -> Found:
        """Return the files with the beginning of a prompt, unread."""
        folder = self.folder_of(fingerprint)
        if not folder.is_dir():
            return Found()
        files: list[Path] = []
        last = _first_key(fingerprint)
        for key in _keys(fingerprint, tokens):
            path = folder / f"{key}{BLOCK_SUFFIX}"
            if not path.exists():
                break
            files.append(path)
            last = key
        count = BLOCK * len(files)
        if files and len(tokens) - count >= LEAST_REST:
            rest = folder / f"{last}{REST_SUFFIX}"
            with contextlib.suppress(OSError, StateError):
                shared = _shared(read_tokens(rest), tokens[count : count + BLOCK])
                if shared >= LEAST_REST:
                    return Found((*files, rest), count + shared)
        return Found(tuple(files), count)

    def find_state(self, fingerprint: str, tokens: Sequence[int], fits: Callable[[int], bool], *, with_blocks: bool) -> Found:
        """Return the files of the state from which a prompt can go on after most of its tokens, unread.

        `fits` says of a number of tokens whether it may be used. `with_blocks`: the blocks before the state are needed, too.
        """
        folder = self.folder_of(fingerprint)
        known = _states_in(folder)
        blocks: list[Path] = []
        best = Found()
        for start, key, following in _steps(fingerprint, tokens) if known else ():
            for count, name in known.get(key, ()):
                end = start + count
                if best.tokens < end <= len(tokens) and fits(end) and name == _state_name(key, tokens[start:end]):
                    best = Found((*blocks, folder / name), end)
            if with_blocks:
                blocks.append(folder / f"{following}{BLOCK_SUFFIX}")
                if not blocks[-1].exists():
                    break
        return best

    def read(self, found: Found, tokens: Sequence[int]) -> list[Block]:
        """Read the files of a prompt, and return those blocks that are whole, up to the first that is not.

        A damaged file is removed. Their tokens are compared: the last block may go on in another way than the prompt.
        Those of a state are all returned, or none.
        """
        return self.agreeing(found, tokens, self.read_files(found.files))

    def read_files(self, files: Sequence[Path]) -> list[Block | None]:
        """Read files, whose tokens are not known yet; None stands for one that is not whole. A damaged one is removed."""
        with ThreadPoolExecutor(_THREADS) as threads:
            return list(threads.map(self._read_one, files))

    def agreeing(self, found: Found, tokens: Sequence[int], blocks: Sequence[Block | None]) -> list[Block]:
        """Return the blocks that agree with the tokens of a prompt, up to the first that does not, as `read` does.

        `blocks` are the contents of the files that were found, None for one that cannot be used.
        """
        whole: list[Block] = []
        for number, (path, block) in enumerate(zip(found.files, blocks, strict=True)):
            if block is None or (path.suffix == BLOCK_SUFFIX and block.tokens != tuple(tokens[number * BLOCK :][:BLOCK])):
                break
            if path.suffix == STATE_SUFFIX and block.tokens != tuple(tokens[: found.tokens][-len(block.tokens) :]):
                break
            whole.append(block)
        if found.files and found.files[-1].suffix == STATE_SUFFIX and len(whole) < len(found.files):
            return []
        self.touch(found.files[: len(whole)])
        return whole

    def recall(self, question: str) -> tuple[Path, ...]:
        """Return the files that had the prompt of a question the last time; none if that is not known.

        `question` is a hexadecimal number.
        """
        path = self._path_of(question)
        try:
            names = read_block(path).layout
        except (OSError, StateError):
            return ()
        if not isinstance(names, list) or not all(isinstance(name, str) and _FILE_NAME.fullmatch(name) for name in names):
            return ()
        self.touch([path])
        return tuple(self.folder / name for name in names)

    def remember(self, question: str, files: Sequence[Path], model: str) -> None:
        """Write down the files that have the prompt of a question. Raises OSError."""
        path = self._path_of(question)
        self.make_folder(path.parent.name)
        write_block(path, Block((), [f"{one.parent.name}/{one.name}" for one in files], ()), model)

    def _path_of(self, question: str) -> Path:
        return self.folder / "questions" / f"{question}{QUESTION_SUFFIX}"

    def write(self, fingerprint: str, tokens: Sequence[int], prompt: int, block_of: Maker, model: str) -> None:
        """Write what is not kept yet of some tokens, the first `prompt` of which are a prompt.

        `block_of(start, end)` returns the block of these tokens. Others are removed if there are too many.

        Raises:
            OSError: if the folder cannot be used, the disk is full, and so on.
        """
        folder = self.make_folder(fingerprint)
        keys = list(_keys(fingerprint, tokens))
        pending = [(folder / f"{key}{BLOCK_SUFFIX}", number * BLOCK, (number + 1) * BLOCK) for number, key in enumerate(keys)]
        full = prompt // BLOCK
        if full and prompt - full * BLOCK >= LEAST_REST:
            pending.append((folder / f"{keys[full - 1]}{REST_SUFFIX}", full * BLOCK, prompt))
        missing = [
            (path, partial(block_of, start, end))
            for path, start, end in pending
            if not path.exists() or (path.suffix == REST_SUFFIX and not _has(path, tokens[start:end]))
        ]
        self._write_all(missing, model)
        self.touch([path for path, _, _ in pending])
        self.prune()

    def write_states(
        self,
        fingerprint: str,
        tokens: Sequence[int],
        lengths: Iterable[int],
        state_of: Maker,
        model: str,
        *,
        block_of: Maker | None = None,
    ) -> None:
        """Write what is not kept yet of the states after so many of some tokens, and the blocks before them, if they have any.

        `state_of(start, end)` returns the state after `end` tokens, with those from `start` on. Others are removed if there are
        too many.

        Raises:
            OSError: if the folder cannot be used, the disk is full, and so on.
        """
        folder = self.make_folder(fingerprint)
        steps = list(_steps(fingerprint, tokens))
        pending: dict[Path, Callable[[], Block]] = {}
        for length in lengths:
            number = (length - 1) // BLOCK
            if block_of is not None:
                for start, _, following in steps[:number]:
                    pending[folder / f"{following}{BLOCK_SUFFIX}"] = partial(block_of, start, start + BLOCK)
            start, key, _ = steps[number]
            pending[folder / _state_name(key, tokens[start:length])] = partial(state_of, start, length)
        self._write_all(((path, make) for path, make in pending.items() if not path.exists()), model)
        self.touch(list(pending))
        self.prune()

    @staticmethod
    def _write_all(pending: Iterable[tuple[Path, Callable[[], Block]]], model: str) -> None:
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(lambda one: write_block(one[0], one[1](), model), pending))

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


def _first_key(fingerprint: str) -> str:
    return hashlib.sha256(fingerprint.encode()).hexdigest()


def _keys(fingerprint: str, tokens: Sequence[int]) -> Iterator[str]:
    """Yield the keys of the full blocks of a prompt."""
    key = _first_key(fingerprint)
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        key = hashlib.sha256(key.encode() + pack_tokens(tokens[start : start + BLOCK])).hexdigest()
        yield key


def _steps(fingerprint: str, tokens: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Yield where each block of a prompt starts, also the last one, the key of those before it, and its own if it is full."""
    key = _first_key(fingerprint)
    for start, following in zip(range(0, len(tokens), BLOCK), [*_keys(fingerprint, tokens), ""], strict=False):
        yield start, key, following
        key = following


def _state_name(key: str, tokens: Sequence[int]) -> str:
    """The name of the file of a state after the blocks with a key and these tokens."""
    return f"{key}-{len(tokens)}-{hashlib.sha256(pack_tokens(tokens)).hexdigest()[:32]}{STATE_SUFFIX}"


def _states_in(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """The number of tokens and the name of each file of a state, by the key of the blocks before it."""
    found: dict[str, list[tuple[int, str]]] = {}
    try:
        names = [path.name for path in folder.iterdir() if path.suffix == STATE_SUFFIX]
    except OSError:
        return found
    for name in names:
        key, _, rest = name.partition("-")
        count = rest.partition("-")[0]
        if count.isdecimal() and 0 < int(count) <= BLOCK:
            found.setdefault(key, []).append((int(count), name))
    return found


def _shared(tokens: Sequence[int], others: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(tokens, others, strict=False)) if a != b), min(len(tokens), len(others)))


def _has(path: Path, tokens: Sequence[int]) -> bool:
    """Return whether a file has just these tokens."""
    try:
        return read_tokens(path) == tuple(tokens)
    except (OSError, StateError):
        return False
