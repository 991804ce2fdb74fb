"""Caches of evaluated prompts: in memory, in files, or a caller's own."""

from __future__ import annotations

import hashlib
import logging
import os
from abc import ABC, abstractmethod
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from llamacli.api.state.saved import SavedState
from llamacli.engine.generation.prompts.prefix_cache import Prefix, common_length
from llamacli.engine.runtime import state_file as states
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.state import fingerprint
from llamacli.errors import StateError

logger = logging.getLogger("llamacli.api")

CAPACITY = 2 << 30
"""Bytes of a cache, unless it says otherwise."""


class BaseLlamaCache(ABC):
    """States by their tokens. Looking up a prompt finds the state that shares most with it."""

    def __init__(self, capacity_bytes: int = CAPACITY) -> None:
        self.capacity_bytes = capacity_bytes

    @property
    @abstractmethod
    def cache_size(self) -> int:
        """The bytes of all states."""

    @abstractmethod
    def __getitem__(self, key: Sequence[int]) -> SavedState: ...

    @abstractmethod
    def __contains__(self, key: Sequence[int]) -> bool: ...

    @abstractmethod
    def __setitem__(self, key: Sequence[int], value: SavedState) -> None: ...


class LlamaRAMCache(BaseLlamaCache):
    """A cache in memory; the least recently used states are dropped first."""

    def __init__(self, capacity_bytes: int = CAPACITY) -> None:
        super().__init__(capacity_bytes)
        self.cache_state: OrderedDict[tuple[int, ...], SavedState] = OrderedDict()

    @property
    def cache_size(self) -> int:
        """See `BaseLlamaCache`."""
        return sum(state.llama_state_size for state in self.cache_state.values())

    def __getitem__(self, key: Sequence[int]) -> SavedState:
        found = _closest(self.cache_state, key)
        self.cache_state.move_to_end(found)
        return self.cache_state[found]

    def __contains__(self, key: Sequence[int]) -> bool:
        return any(common_length(tokens, tuple(key)) for tokens in self.cache_state)

    def __setitem__(self, key: Sequence[int], value: SavedState) -> None:
        self.cache_state[tuple(key)] = value
        self.cache_state.move_to_end(tuple(key))
        while self.cache_size > self.capacity_bytes:
            self.cache_state.popitem(last=False)


class LlamaDiskCache(BaseLlamaCache):
    """A cache in files, which processes can share. Each file has a checksum; a damaged one is removed when it is found.

    Raises:
        OSError: if the folder cannot be made, or a file cannot be written.
    """

    def __init__(self, cache_dir: str | Path = ".cache/llama_cache", capacity_bytes: int = CAPACITY) -> None:
        super().__init__(capacity_bytes)
        self.folder = Path(cache_dir)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def cache_size(self) -> int:
        """See `BaseLlamaCache`."""
        return sum(size for _, size, _ in self._files())

    def __getitem__(self, key: Sequence[int]) -> SavedState:
        known = {tokens: path for _, _, path in self._files() if (tokens := _tokens_in(path))}
        while True:
            found = _closest(known, key)
            path = known.pop(found)
            try:
                state = SavedState(states.read(path))
                os.utime(path)
            except (StateError, OSError) as error:
                logger.warning("%s is removed from the cache: %s", path, error)
                path.unlink(missing_ok=True)
            else:
                return state

    def __contains__(self, key: Sequence[int]) -> bool:
        return any(common_length(_tokens_in(path), tuple(key)) for _, _, path in self._files())

    def __setitem__(self, key: Sequence[int], value: SavedState) -> None:
        name = hashlib.sha256(value.state.fingerprint.encode() + array("i", key).tobytes()).hexdigest()
        states.write(self.folder / f"{name}.state", value.state)
        files = self._files()
        size = sum(size for _, size, _ in files)
        for _, bytes_of_file, path in files:
            if size <= self.capacity_bytes:
                break
            path.unlink(missing_ok=True)
            size -= bytes_of_file

    def _files(self) -> list[tuple[float, int, Path]]:
        """Return the time of use, the size and the path of all files, the least recently used first."""

        def about() -> Iterator[tuple[float, int, Path]]:
            for path in self.folder.glob("*.state"):
                try:
                    found = path.stat()
                except FileNotFoundError:  # another process removed it
                    continue
                yield found.st_mtime, found.st_size, path

        return sorted(about())


class SharedPrefixes:
    """A caller's cache as the engine's store of prefixes, for contexts like a given one."""

    keeps_answers = True

    def __init__(self, cache: BaseLlamaCache, context: Context) -> None:
        self._cache = cache
        self._fingerprint = fingerprint(context)
        self._is_cuttable = context.is_cuttable

    def put(self, prefix: Prefix) -> None:
        """Keep a state. How its tokens were evaluated, and its checkpoints, are not written down."""
        try:
            self._cache[prefix.tokens] = SavedState(states.State(self._fingerprint, prefix.tokens, prefix.state))
        except OSError as error:
            logger.warning("the cache cannot be written: %s", error)

    def find(self, prompt: tuple[int, ...]) -> Prefix | None:
        """Return the state that shares most with the prompt; None if none shares anything."""
        try:
            found = self._cache[prompt].state
        except KeyError:
            return None
        if found.fingerprint != self._fingerprint:
            return None
        return Prefix(found.tokens, 0, found.payload, is_cuttable=self._is_cuttable)


def _closest(known: Iterable[tuple[int, ...]], key: Sequence[int]) -> tuple[int, ...]:
    wanted = tuple(key)
    best = max(known, key=lambda tokens: common_length(tokens, wanted), default=())
    if not common_length(best, wanted):
        raise KeyError("no state shares a beginning with these tokens")
    return best


def _tokens_in(path: Path) -> tuple[int, ...]:
    """Return the tokens of a file's state, none if it is damaged."""
    try:
        return states.read_tokens(path)
    except StateError:
        return ()
