"""The evaluated prompt of a question that was asked before, put together while the model loads.

Its tokens are known when the model has loaded, which takes about as long as to read and verify the prompt. So the prompt that
the question had the last time is read meanwhile, and used if it turns out to be the same.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from llamacli.backend.prompt_states import joined
from llamacli.engine.runtime.hardware import available_memory
from llamacli.errors import LlamacliError
from llamacli.store.prompt_cache.block_file import Block
from llamacli.store.prompt_cache.cache import Found, PromptCache

logger = logging.getLogger("llamacli.engine")


class ForeseenPrompt:
    """What a cache has of the prompt that a question had the last time, read on a thread. `close()` frees it.

    `question` is the question's number in the cache. Only prompts whose states are rows are read.
    """

    def __init__(self, cache: PromptCache, question: str) -> None:
        self._cache = cache
        self._opened = contextlib.ExitStack()
        self._blocks: list[Block] = []
        self._state: tuple[IO[bytes], int] | None = None
        self.files: tuple[Path, ...] = cache.recall(question)
        self._thread = threading.Thread(target=self._read, name="llamacli-foreseen", daemon=True)
        if self.files:
            self._thread.start()

    def _read(self) -> None:
        try:
            if not fits(sum(path.stat().st_size for path in self.files)):
                return
            blocks = self._cache.read_files(self.files)
            self._blocks = [block for block in blocks if block is not None]
            if len(self._blocks) == len(self.files):
                self._state = self._opened.enter_context(joined(self._blocks, "rows"))
        except (OSError, LlamacliError) as error:
            logger.debug("the prompt is not read before it is known: %s", error)

    def state(self, found: Found, prompt: Sequence[int]) -> tuple[list[Block], IO[bytes], int] | None:
        """Return the blocks of what was found of a prompt, and their state in a file with its size; None if not read."""
        if not self.files or self.files != found.files:
            return None
        self._thread.join()
        if self._state is None or len(self._cache.agreeing(found, prompt, self._blocks)) < len(self.files):
            return None
        return self._blocks, *self._state

    def close(self) -> None:
        """Free what was read."""
        if self.files:
            self._thread.join()
        self._opened.close()


def fits(size: int) -> bool:
    """Return whether a state of so many bytes can be held twice for a moment."""
    available = available_memory()
    return available is None or size <= available // 4
