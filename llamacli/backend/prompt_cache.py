"""Evaluated prompts between an engine and the disk: looked up before an answer, and kept after it.

An engine has no access to files. It gets the state of a prompt in a file without a name, and writes one likewise; what is cut
there, verified and put together, is done here. Keeping happens on a thread, after the answer. A lookup that finds nothing asks
for one file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import IO, Protocol

from llamacli.backend.foreseen_prompt import ForeseenPrompt, fits
from llamacli.backend.nameless_file import nameless_file
from llamacli.backend.prompt_states import CapturedStates, joined
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent
from llamacli.engine.generation.job import Job
from llamacli.engine.generation.prompts.checkpoints import TAIL
from llamacli.engine.generation.prompts.prefix_cache import common_length
from llamacli.engine.params import GenerationParams
from llamacli.engine.runtime.mapping import map_shared
from llamacli.engine.runtime.prompt_identity import CapturedPrompt, PromptIdentity
from llamacli.errors import LlamacliError
from llamacli.store.prompt_cache import BLOCK
from llamacli.store.prompt_cache.block_file import Block
from llamacli.store.prompt_cache.cache import Found, PromptCache

logger = logging.getLogger("llamacli.engine")

LEAST_GAIN = 64
"""Least tokens that a lookup must spare to be worth it: fewer are evaluated as fast (measured with a model of 135M)."""

_LEAST_MEASURED = 32
"""Least tokens of an evaluated prompt that say how long a token takes."""

_DISK_BYTES_PER_MS = 1e6
_WORTH = 4.0
"""A prompt is kept if its new tokens took so many times longer to evaluate than reading all of it back takes."""

_BUSY_SHARE = 0.01
"""Share of the time that keeping may take while other answers are being made."""

_PATIENCE_SECONDS = 5.0


class PromptEngine(Protocol):
    """An engine whose evaluated prompts can be kept: in this process or in a child."""

    @property
    def prompt_identity(self) -> PromptIdentity | None:
        """The identity of evaluated prompts; None if they cannot be kept."""

    def held_tokens(self, prompt: Sequence[int]) -> int:
        """Return how many tokens of a prompt need no evaluation any more."""

    def stage_prompt(self, tokens: Sequence[int], file: IO[bytes], size: int) -> None:
        """Take in an evaluated prompt for the next answer that starts like it."""

    def capture_prompt(self, prompt: Sequence[int], file: IO[bytes]) -> CapturedPrompt:
        """Write the state of a prompt and its answer to an empty file, and return what is there."""


class CachedPrompts:
    """The prompts of an engine in a cache. `model` is the name of the model's file. Thread-safe.

    `question` is a hexadecimal number that stands for what will be asked first, of this model and with these parameters.
    """

    def __init__(self, engine: PromptEngine, cache: PromptCache, model: str, *, question: str | None = None) -> None:
        self._engine = engine
        self._cache = cache
        self._model = model
        self._lock = threading.Lock()
        self._running = 0
        self._thread: threading.Thread | None = None
        self._captured = threading.Event()
        self._ms_per_token: float | None = None
        self._began, self._spent = time.monotonic(), 0.0
        self._failed = False
        self._question = question
        self._foreseen = ForeseenPrompt(cache, question) if question is not None else None
        self._first_prompt: Sequence[int] | None = None

    @staticmethod
    def take(params: GenerationParams | None, *, closes_gap: bool = False) -> bool:
        """Return whether a request may start with what was evaluated before."""
        return not closes_gap and (params is None or (params.cache_prompt and not params.score_prompt))

    # --- answers --------------------------------------------------------------------------------------------------------

    def answer(
        self, turn: Turn, started: Sequence[int], stream: Callable[[], Generator[AnswerEvent, None, None]]
    ) -> Generator[AnswerEvent, None, None]:
        """Yield the events of an answer that `stream` makes, with a prompt from the cache, which is kept there at the end."""
        prompt = (*turn.prompt.tokens, *started)
        with self.answering():
            self.prepare(prompt)
            with contextlib.closing(stream()) as events:
                is_kept = False
                for event in events:
                    if isinstance(event, Answer) and not is_kept:  # the caller may leave with it
                        is_kept = True
                        self.keep(prompt, event)
                    yield event

    def answer_many(
        self, jobs: Iterator[Job | None], stream: Callable[[Iterator[Job | None]], Generator[AnswerEvent, None, None]]
    ) -> Generator[AnswerEvent, None, None]:
        """Yield the events of many answers that `stream` makes of jobs, with prompts from the cache.

        What all of their prompts have in common is kept there; of a single job, all.
        """
        common: tuple[int, ...] | None = None
        count = 0

        def prepared() -> Iterator[Job | None]:
            nonlocal common, count
            for job in jobs:
                if job is not None and self.take(job.params) and self._takes_batches:
                    prompt = (*job.turn.prompt.tokens, *job.turn.started)
                    common = prompt if common is None else common[: common_length(common, prompt)]
                    count += 1
                    self.prepare(prompt)
                yield job

        with self.answering(), contextlib.closing(stream(prepared())) as events:
            is_kept = False
            for event in events:
                if isinstance(event, Answer) and not is_kept and common:
                    is_kept = True
                    self.keep(common, event, with_answer=count == 1)
                yield event

    @property
    def _takes_batches(self) -> bool:
        identity = self._engine.prompt_identity
        return identity is not None and identity.any_batch

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Count an answer that is being made."""
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    # --- before an answer -----------------------------------------------------------------------------------------------

    def may_have(self, prompt: Sequence[int]) -> bool:
        """Return whether the cache may have a part of a prompt that is worth preparing it. Quick, whatever its length.

        Where a prompt cannot go on after any of its tokens, all of them would have to be hashed to know more.
        """
        identity = self._engine.prompt_identity
        if identity is None or len(prompt) < BLOCK:
            return False
        if identity.form != "rows":
            return True
        return self._found(identity, prompt[: 2 * max(BLOCK, identity.unit)]).tokens >= BLOCK

    def prepare(self, prompt: Sequence[int]) -> None:
        """Hand the engine what the cache has of a prompt, if that is much more than the engine has itself."""
        identity = self._engine.prompt_identity
        if identity is None:
            return
        foreseen, self._foreseen = self._foreseen, None
        if self._first_prompt is None:
            self._first_prompt = prompt
        try:
            found = self._found(identity, prompt)
            if found.tokens < BLOCK or not fits(found.tokens * identity.token_bytes):
                return
            if found.tokens - self._engine.held_tokens(prompt) < LEAST_GAIN:
                return
            with contextlib.closing(foreseen) if foreseen is not None else contextlib.nullcontext():
                self._stage(identity, prompt, found, foreseen)
        except (OSError, LlamacliError) as error:  # what is wrong with the engine, the answer says
            logger.debug("the prompt cache is not used: %s", error)

    def _stage(self, identity: PromptIdentity, prompt: Sequence[int], found: Found, foreseen: ForeseenPrompt | None) -> None:
        """Hand the engine what was found of a prompt: as it was foreseen, or read now."""

        def stage(blocks: Sequence[Block], file: IO[bytes], size: int) -> None:
            tokens = [token for block in blocks for token in block.tokens]
            self._engine.stage_prompt(prompt[: found.tokens] if identity.form != "rows" else tokens, file, size)

        if foreseen is not None and (state := foreseen.state(found, prompt)) is not None:
            stage(*state)
        elif blocks := self._cache.read(found, prompt):
            with joined(blocks, identity.form) as (file, size):
                stage(blocks, file, size)
            self._remember(identity, prompt, found)

    def _remember(self, identity: PromptIdentity, prompt: Sequence[int], found: Found) -> None:
        """Write down which files have the prompt of the first question."""
        if self._question is not None and prompt == self._first_prompt and identity.form == "rows" and found.tokens >= BLOCK:
            self._cache.remember(self._question, found.files, self._model)

    def _found(self, identity: PromptIdentity, prompt: Sequence[int]) -> Found:
        if identity.form != "rows":
            return self._found_state(identity, prompt)
        found = self._cache.find(identity.fingerprint, prompt)
        if identity.unit == 1:
            return found
        whole = found.tokens // identity.unit * identity.unit
        if len(prompt) - whole == 1:  # a single token would be left, which no prompt is evaluated by
            whole -= identity.unit
        return found.cut(max(0, whole))

    def _found_state(self, identity: PromptIdentity, prompt: Sequence[int]) -> Found:
        """What the cache has of a prompt whose state cannot be cut, up to where its own evaluation would be divided, too."""
        end = len(prompt) - TAIL

        def fits(length: int) -> bool:
            if identity.unit == 1:
                return length < len(prompt)
            return length == end or (length % identity.unit == 0 and length < end)

        return self._cache.find_state(identity.fingerprint, prompt, fits, with_blocks=identity.form != "state")

    # --- after an answer ------------------------------------------------------------------------------------------------

    def keep(self, prompt: Sequence[int], answer: Answer, *, with_answer: bool = True) -> None:
        """Keep a prompt that was evaluated for an answer, on a thread. `with_answer`: the answer, too.

        Nothing happens if the cache has it, if it is not worth it, or if too much time went into this already.
        """
        identity, timings = self._engine.prompt_identity, answer.timings
        if identity is None or self._failed or len(prompt) < BLOCK or answer.finish_reason == "cancelled":
            return
        if timings.prompt_n >= _LEAST_MEASURED:
            self._ms_per_token = timings.prompt_ms / timings.prompt_n
        if self._ms_per_token is None:
            return
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            if self._running > 1 and self._spent > _BUSY_SHARE * (time.monotonic() - self._began):
                return
            self._captured.clear()
            arguments = (identity, tuple(prompt), self._ms_per_token, with_answer)
            self._thread = threading.Thread(target=self._keep, args=arguments, name="llamacli-prompts", daemon=True)
            self._thread.start()

    def _keep(self, identity: PromptIdentity, prompt: tuple[int, ...], ms_per_token: float, with_answer: bool) -> None:
        began = time.monotonic()
        try:
            missing = len(prompt) - self._found(identity, prompt).tokens
            size = len(prompt) * identity.token_bytes
            if missing < LEAST_GAIN or missing * ms_per_token < _WORTH * size / _DISK_BYTES_PER_MS:
                return
            if size > self._cache.limit(self._cache.size()) or not fits(size):
                return
            with nameless_file() as file:
                captured = self._engine.capture_prompt(prompt, file)
                self._captured.set()
                self._write(identity, captured, common_length(captured.tokens, prompt), file, with_answer=with_answer)
            self._remember(identity, prompt, self._found(identity, prompt))
        except (OSError, LlamacliError) as error:  # a full disk, or an engine that has ended
            self._failed = isinstance(error, OSError)
            logger.debug("the prompt is not kept: %s", error)
        finally:
            self._captured.set()
            self._spent += time.monotonic() - began

    def _write(
        self, identity: PromptIdentity, captured: CapturedPrompt, prompt: int, file: IO[bytes], *, with_answer: bool
    ) -> None:
        kept = captured.tokens if with_answer else captured.tokens[:prompt]
        size = os.fstat(file.fileno()).st_size
        if len(kept) < BLOCK or not size:
            return
        states = CapturedStates(identity.form, captured, map_shared(file, size))
        if identity.form == "rows":
            if states.cells >= len(kept):
                self._cache.write(identity.fingerprint, kept, prompt, states.block, self._model)
            return
        block_of = states.block if identity.form != "state" else None
        most = len(kept) if block_of is None else min(len(kept), states.cells)
        lengths = [length for length in states.lengths if BLOCK <= length <= most]
        self._cache.write_states(identity.fingerprint, kept, lengths, states.state, self._model, block_of=block_of)

    # --- the end --------------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Wait until the engine is not needed any more."""
        if self._thread is not None:
            self._captured.wait(_PATIENCE_SECONDS)

    def close(self) -> None:
        """Wait until everything is written. The engine may have ended."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE_SECONDS)
