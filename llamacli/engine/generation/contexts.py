"""The context of an engine and the scheduler on it: made when the first prompt is known, and made anew when one needs more."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.engine.generation.drafts.gate import outputs_for
from llamacli.engine.generation.prompts.capture import capture_prompt
from llamacli.engine.generation.prompts.prefix_cache import PrefixCache, PrefixStore
from llamacli.engine.generation.prompts.staged import StagedPrompts
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.generation.shared import SharedScheduler
from llamacli.engine.params import DEFAULT_CONTEXT, MOST_DRAFT, ContextParams
from llamacli.engine.runtime import state as states
from llamacli.engine.runtime import state_file
from llamacli.engine.runtime.cache_size import cache_bytes
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.context_params import can_be_invariant
from llamacli.engine.runtime.hardware import available_memory
from llamacli.engine.runtime.loading import interruptible
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.prompt_identity import CapturedPrompt, PromptIdentity
from llamacli.engine.runtime.state_file import State
from llamacli.errors import ClosedError

if TYPE_CHECKING:
    from llamacli.engine.generation.drafts.draft_model import DraftModel
    from llamacli.engine.generation.drafts.source import DraftSource
    from llamacli.engine.media.encoder import MediaEncoder

MAX_AUTO_PARALLEL = 16
"""Sequences that `parallel="auto"` tries at most: beyond, a CPU gains little and the cache grows."""


class Contexts:
    """Owner of a model's context. `close()` may be called twice, from any thread and from a signal handler."""

    def __init__(
        self,
        model: Model,
        params: ContextParams,
        flag: CancelFlag,
        encoder: MediaEncoder | None = None,
        draft_model: DraftModel | None = None,
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._draft_model = draft_model
        self._drafts: DraftSource | None = None
        self.params = params
        self._flag = flag
        self._context: Context | None = None
        self._shared: SharedScheduler | None = None
        self._preparing = threading.RLock()
        self._grows = False
        self._closed = False
        self._afterwards: Callable[[], None] = lambda: None
        self.staged = StagedPrompts()
        """Evaluated prompts from outside, for the slots of this context and of those that take its place."""

    @property
    def is_made(self) -> bool:
        """True if there is a context."""
        return self._context is not None

    @property
    def n_ctx(self) -> int:
        """Tokens that a sequence may have; grows with the prompts unless the size was given."""
        return self._context.n_ctx if self._context else self.size_for(0, None)

    @property
    def n_parallel(self) -> int:
        """Sequences that run at once."""
        return self.params.n_seq_max

    def size_for(self, prompt: int, max_tokens: int | None) -> int:
        """Return the context size in tokens for `max_tokens` after `prompt` tokens, or the size that was given."""
        trained = self._model.n_ctx_train
        if self.params.n_ctx is not None:
            return self.params.n_ctx or trained
        needed = prompt + max_tokens + 1 if max_tokens is not None else max(DEFAULT_CONTEXT, prompt + DEFAULT_CONTEXT // 2)
        return min(-(-needed // 256) * 256, trained) if trained else needed

    def ready(self, prompt: int, max_tokens: int | None) -> SharedScheduler:
        """Return the scheduler, with a context that is large enough for this answer if its size was not given.

        Raises:
            ClosedError: if `close()` was called.
            MemoryFullError: if the context does not fit.
        """
        with self._preparing:
            self.require_open()
            if self._shared is None or self._shared.is_idle:
                self._flag.clear()
            size = self.size_for(prompt, max_tokens)
            fits = self._context is not None and (self.params.n_ctx is not None or size <= self._context.n_ctx)
            return self._shared if fits and self._shared is not None else self._grow(size)

    def parallel(self, size: int, sequences: int | None, *, shared: bool) -> SharedScheduler:
        """Return the scheduler for `sequences` at once (None: as many as pay), each with a context of `size` tokens or more.

        The answer of a sequence does not depend on the others where that can be had; where not, one buffer holds all of them if
        `shared`, for prompts that have much in common.
        """
        sequences = sequences or self._fitting(size)
        params = dataclasses.replace(self.params, n_ctx=size, n_seq_max=sequences, invariant=True)
        params = dataclasses.replace(params, kv_unified=shared and not can_be_invariant(params, self._model.params.kernels))
        with self._preparing:
            self.require_open()
            if self._context is not None and self._shared is not None and self._context.n_ctx >= size:
                return self._shared
            self.params = params
            return self._grow(size)

    def _fitting(self, size: int) -> int:
        """Return how many sequences of `size` tokens fit in half of the free memory, at most `MAX_AUTO_PARALLEL`."""
        available = available_memory()
        if available is None:
            return MAX_AUTO_PARALLEL
        return max(1, min(MAX_AUTO_PARALLEL, available // 2 // (cache_bytes(self._model, self.params) * size or 1)))

    def _grow(self, size: int) -> SharedScheduler:
        """Make the context, or a larger one that keeps what the first slot of the old one holds."""
        kept = None
        context, self._context = self._context, None
        shared, self._shared = self._shared, None
        if context is not None and shared is not None:
            kept = states.capture(context, 0, shared.scheduler.slots.tokens_of(0))
            shared.close()
            self._close_drafts()
            context.close()
        outputs = max(self.params.n_outputs, outputs_for(self.params.n_seq_max))
        has_source = self._draft_model is not None or self._model.params.mtp
        rollback = MOST_DRAFT if has_source else self.params.rollback
        params = dataclasses.replace(self.params, n_ctx=size, n_outputs=outputs, rollback=rollback)
        self._grows = True
        try:
            self._context, self._drafts = interruptible(lambda: self._open(params), self._flag)
        finally:
            self._grows = False
            if self._closed:  # by a signal handler, which could not free the model under the context
                self._free()
        self.require_open()
        self._shared = SharedScheduler(Scheduler(self._context, self.staged, self._encoder, self._drafts), self._flag)
        if kept is not None and kept.tokens:
            states.restore(self._context, 0, kept)
            self._shared.scheduler.slots.adopt(0, list(kept.tokens))
        return self._shared

    def _open(self, params: ContextParams) -> tuple[Context, DraftSource | None]:
        """Return a new context, and what drafts beside it: the draft model, the model's own heads, or None."""
        context = Context(self._model, params)
        try:
            if self._draft_model is not None:
                return context, self._draft_model.open_context(context)
            if self._model.params.mtp:
                from llamacli.engine.generation.drafts.head_drafts import open_heads  # few models have heads

                return context, open_heads(context)
        except BaseException:
            context.close()
            raise
        return context, None

    def _close_drafts(self) -> None:
        drafts, self._drafts = self._drafts, None
        if drafts is not None:
            drafts.close()

    def keep_prefixes(self, capacity: int) -> None:
        """Keep evaluated prompts in up to `capacity` bytes of memory when others take their slots; 0 keeps none from now on."""
        self.use_prefixes(lambda _: PrefixCache(capacity) if capacity > 0 else None)

    def use_prefixes(self, store_of: Callable[[Context], PrefixStore | None]) -> None:
        """Use the store that `store_of` returns for the context; None keeps no prefixes."""
        scheduler = self.ready(0, 1).scheduler
        if self._context is not None:
            scheduler.slots.prefixes = store_of(self._context)

    def save_state(self, path: Path) -> int:
        """Write the cache of the last answer and its prompt to a file; return the number of tokens.

        Raises:
            OSError: if the file cannot be written.
        """
        state = self.capture_state()
        if state is None:
            return 0
        state_file.write(path, state)
        return len(state.tokens)

    def load_state(self, path: Path) -> int:
        """Restore what `save_state` wrote; return its tokens. Raises as `state_file.read` and `restore_state`."""
        return self.restore_state(state_file.read(path))

    def capture_state(self) -> State | None:
        """Return the cache of the last answer and its prompt; None without a context."""
        shared = self._shared or self.ready(0, None)  # not a larger context: an answer may be running in this one
        if self._context is None:
            return None
        return states.capture(self._context, 0, shared.scheduler.slots.tokens_of(0))

    def restore_state(self, state: State) -> int:
        """Restore a state, so that prompts that start with it are not evaluated again; return its tokens.

        Raises:
            StateError: if it belongs to another model or build.
            ContextFullError: if it is longer than the context.
        """
        scheduler = self.ready(len(state.tokens), None).scheduler
        scheduler.slots.adopt(0, [])  # restoring empties the slot before it can fail
        if self._context is not None:
            states.restore(self._context, 0, state)
            scheduler.slots.adopt(0, list(state.tokens))
        return len(state.tokens)

    def held(self, prompt: tuple[int, ...]) -> int:
        """Return how many tokens of a prompt need no evaluation any more."""
        waiting = self.staged.shared(prompt)
        shared = self._shared
        return (
            max(waiting, shared.between_steps(lambda: shared.scheduler.slots.held(prompt))) if shared is not None else waiting
        )

    def capture_prompt(
        self, prompt: tuple[int, ...], identity: PromptIdentity, memory_of: Callable[[int], memoryview]
    ) -> CapturedPrompt:
        """Write an evaluated prompt into memory, see `capture.capture_prompt`."""
        shared, context = self._shared, self._context
        if shared is None or context is None:
            return CapturedPrompt()
        return shared.between_steps(lambda: capture_prompt(context, shared.scheduler.slots, prompt, identity, memory_of))

    @property
    def cached_tokens(self) -> int:
        """Tokens of the last prompt and its answer in the cache."""
        return len(self._shared.scheduler.slots.tokens_of(0)) if self._shared is not None else 0

    @property
    def state_bytes(self) -> int:
        """Approximate size of the file that `save_state` would write; 0 while there is nothing to save."""
        if self._context is None or self._shared is None or not self._shared.scheduler.slots.tokens_of(0):
            return 0
        return self._context.sequence_bytes(0)

    def cancel(self) -> None:
        """End what runs, from any thread."""
        if self._shared is not None:
            self._shared.cancel()
        else:
            self._flag.set()

    def require_open(self) -> None:
        """Raise ClosedError after `close()`."""
        if self._closed:
            raise ClosedError("the engine was closed")

    def close(self, free: Callable[[], None]) -> None:
        """Free the context, then call `free`. Calls that run on other threads raise ClosedError first.

        In a signal handler or a callback of a request it returns before that: what is to be freed is freed when the step ends.
        """
        self._closed = True
        self._afterwards = free
        self._flag.set()  # what runs on another thread need not finish
        with self._preparing:
            if not self._grows:
                self._free()

    def _free(self) -> None:
        context, self._context = self._context, None
        shared, self._shared = self._shared, None

        def free() -> None:
            self._close_drafts()
            if context is not None:
                context.close()
            self._afterwards()

        if shared is not None:
            shared.close(free)
        else:
            free()
