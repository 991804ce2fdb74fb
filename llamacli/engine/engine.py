"""A model, its context and its scheduler as one thing: what commands and the Python API work with."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.chat.prompts import Prompting
from llamacli.engine.constraint.guide import Guidance
from llamacli.engine.constraint.matcher import Constraint
from llamacli.engine.events import Event, Finished, Timings, Usage
from llamacli.engine.generation.prefix_cache import PrefixCache
from llamacli.engine.generation.samples import generate_samples
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.generation.sequence import Processor, Request
from llamacli.engine.generation.shared import SharedScheduler
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams
from llamacli.engine.runtime.cancel import CancelFlag, Canceller
from llamacli.engine.runtime.context import Context, cache_bytes, can_be_invariant
from llamacli.engine.runtime.hardware import available_memory
from llamacli.engine.runtime.loading import interruptible
from llamacli.engine.runtime.model import Model
from llamacli.errors import ClosedError, ModelUnsupportedError

logger = logging.getLogger("llamacli.engine")

DEFAULT_CONTEXT = 4096
"""Tokens of context when nobody says how many are needed: a model trained with a million would take all memory."""


class Engine(Prompting):
    """Loads a model and generates. A context manager; `close()` frees everything and may be called twice.

    `cancel` may be made by the caller beforehand, so that loading can be cancelled too. `on_load` is told the progress, 0 to 1.

    Raises (when built): what `Model` raises.
    """

    def __init__(
        self,
        path: Path,
        model: ModelParams | None = None,
        context: ContextParams | None = None,
        *,
        cancel: CancelFlag | None = None,
        on_load: Callable[[float], None] | None = None,
    ) -> None:
        self._flag = cancel or CancelFlag()
        vocab_only = model is not None and model.vocabulary_only
        super().__init__(Model(path, model, cancel=self._flag, on_load=on_load, vocab_only=vocab_only))
        self._params = context or ContextParams()
        self._context: Context | None = None
        self._shared: SharedScheduler | None = None
        self._preparing = threading.RLock()
        self._grows = False
        self._closed = False

    @property
    def load_ms(self) -> float:
        """Milliseconds that loading took."""
        return self.model.load_ms

    @property
    def notes(self) -> list[str]:
        """What was done otherwise than asked."""
        return self.model.notes

    @property
    def description(self) -> str:
        """Architecture, size class and quantization."""
        return self.model.description

    @property
    def n_ctx(self) -> int:
        """Tokens that a sequence may have; grows with the prompts unless the context size was given."""
        return self._context.n_ctx if self._context else self._context_size(0, None)

    @property
    def n_parallel(self) -> int:
        """Sequences that run at once."""
        return self._params.n_seq_max

    def context_for(self, prompt: Prompt, max_tokens: int | None) -> int:
        """Tokens of the context that generating would use."""
        return max(self._context_size(len(prompt.tokens), max_tokens), self._context.n_ctx if self._context else 0)

    def generate(
        self,
        prompt: Prompt,
        params: GenerationParams | None = None,
        *,
        grammar: str | None = None,
        guidance: Guidance | None = None,
        samples: int = 1,
        processor: Processor | None = None,
        begun: Sequence[int] = (),
        closes_gap: bool = False,
        cancel: Canceller | None = None,
    ) -> Generator[Event, None, None]:
        """The events of one answer, or of several whose sequences are numbered from 0. Closing the iterator ends the work, and
        `cancel` does so from any thread. Safe from any thread.

        `grammar` is GBNF for the whole answer, `guidance` what else holds it, `processor` changes the logits of each
        choice. `begun` are tokens that the answer begins with, told like the others; `closes_gap` moves up what the cache holds
        behind a gap (see `Request`). Several answers share the evaluation of the prompt, and go on side by side if the context
        was made for as many sequences.

        Raises:
            ContextFullError, MemoryFullError: the prompt, or the context that it needs, does not fit.
            ModelUnsupportedError: the model does not generate.
            CancelledError: `cancel` was set.
            ClosedError: `close()` was called.
            DecodeError, GrammarError, ConstraintError: see there.
        """
        if grammar is not None:
            guidance = Guidance(constraint=Constraint(grammar=grammar))
        request = self.request(prompt, params, guidance=guidance, processor=processor, begun=begun, closes_gap=closes_gap)
        shared = self._ready_for([request])
        if shared.is_cancelled:  # while the context was made
            yield Finished(0, "cancelled", Usage(len(request.prompt), 0), Timings(0, 0.0, 0, 0.0))
            return
        yield from shared.events(request, cancel) if samples == 1 else generate_samples(shared, request, samples, cancel)

    def request(
        self,
        prompt: Prompt,
        params: GenerationParams | None = None,
        *,
        guidance: Guidance | None = None,
        processor: Processor | None = None,
        begun: Sequence[int] = (),
        closes_gap: bool = False,
    ) -> Request:
        """What `generate` asks of the scheduler, for `generate_together`."""
        params = params or GenerationParams()
        return Request(
            prompt=(*prompt.tokens, *begun),
            params=dataclasses.replace(params, stop=(*params.stop, *prompt.stops)),
            begun=len(begun),
            closes_gap=closes_gap,
            preserved=prompt.preserved,
            guidance=guidance,
            processor=processor,
        )

    def generate_together(
        self, requests: Sequence[Request], cancel: Canceller | None = None
    ) -> Generator[tuple[int, Event], None, None]:
        """The events of several answers as they come, each with the place of its request. Raises like `generate`."""
        yield from self._ready_for(requests).together(requests, cancel)

    def _ready_for(self, requests: Sequence[Request]) -> SharedScheduler:
        """The scheduler, with a context for the longest of these requests."""
        with self._preparing:
            self._require_open()
            if not self.model.can_generate or self.model.has_encoder:
                raise ModelUnsupportedError("this model does not generate text", hint="llamacli embed uses embedding models")
            if self._shared is None or self._shared.is_idle:
                self._flag.clear()
            unbounded = any(request.params.max_tokens is None for request in requests)
            answer = None if unbounded else max(request.params.max_tokens or 0 for request in requests)
            return self._ready(max(len(request.prompt) for request in requests), answer)

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("the engine was closed")

    def _ready(self, prompt: int, max_tokens: int | None) -> SharedScheduler:
        """The scheduler, with a context that is large enough if its size is ours to choose."""
        with self._preparing:
            self._require_open()
            size = self._context_size(prompt, max_tokens)
            fits = self._context is not None and (self._params.n_ctx is not None or size <= self._context.n_ctx)
            return self._shared if fits and self._shared is not None else self._grow(size)

    def _context_size(self, prompt: int, max_tokens: int | None) -> int:
        trained = self.model.n_ctx_train
        if self._params.n_ctx is not None:
            return self._params.n_ctx or trained
        needed = prompt + max_tokens + 1 if max_tokens is not None else max(DEFAULT_CONTEXT, prompt + DEFAULT_CONTEXT // 2)
        return min(-(-needed // 256) * 256, trained) if trained else needed

    def _grow(self, size: int) -> SharedScheduler:
        """Makes the context, or a larger one that keeps what the first slot of the old one holds."""
        kept = None
        context, self._context = self._context, None
        shared, self._shared = self._shared, None
        if context is not None and shared is not None:
            from llamacli.engine.runtime import state as states

            kept = states.capture(context, 0, shared.scheduler.slots.tokens_of(0))
            shared.close()
            context.close()
        params = dataclasses.replace(self._params, n_ctx=size)
        self._grows = True
        try:
            self._context = interruptible(lambda: Context(self.model, params), self._flag)
        finally:
            self._grows = False
            if self._closed:  # by a signal's handler, which could not free the model under the context
                self._free()
        self._require_open()
        self._shared = SharedScheduler(Scheduler(self._context), self._flag)
        if kept is not None and kept.tokens:
            states.restore(self._context, 0, kept)
            self._shared.scheduler.slots.adopt(0, list(kept.tokens))
        return self._shared

    def prepare(self, size: int, sequences: int, *, shared: bool = False) -> Scheduler:
        """The scheduler for `sequences` at once, each with a context of `size` tokens, or the one there is if it is as large.

        What a sequence gets does not depend on the others where that can be had; where not, one buffer holds all of them if
        `shared`, which says that they have much in common. For callers who step it themselves, on one thread, while nobody
        else generates.
        """
        params = dataclasses.replace(self._params, n_ctx=size, n_seq_max=sequences, invariant=True)
        params = dataclasses.replace(params, kv_unified=shared and not can_be_invariant(params))
        with self._preparing:
            if self._context is None or self._shared is None or self._context.n_ctx < size:
                self._params = params
                return self._grow(size).scheduler
            return self._shared.scheduler

    def parallel_for(self, size: int, most: int) -> int:
        """How many sequences of `size` tokens, at most `most`, find room for their cache in half of the free memory."""
        available = available_memory()
        if available is None:
            return most
        return max(1, min(most, available // 2 // (cache_bytes(self.model, self._params) * size or 1)))

    def keep_prefixes(self, capacity: int) -> None:
        """Keeps evaluated prompts in up to `capacity` bytes of memory when others take their place;

        0 keeps none from now on.
        """
        self._ready(0, 1).scheduler.slots.prefixes = PrefixCache(capacity) if capacity > 0 else None

    def save_state(self, path: Path) -> int:
        """Writes what the cache holds of the last answer and its prompt to a file; returns the number of tokens.

        Raises:
            OSError: it cannot be written.
        """
        from llamacli.engine.runtime import state as states

        shared = self._shared or self._ready(0, None)  # not a larger context: an answer may be on its way in this one
        tokens = shared.scheduler.slots.tokens_of(0)
        if self._context is not None:
            states.write(path, states.capture(self._context, 0, tokens))
        return len(tokens)

    @property
    def cached_tokens(self) -> int:
        """How many tokens of the last prompt and its answer are in the cache."""
        return len(self._shared.scheduler.slots.tokens_of(0)) if self._shared is not None else 0

    @property
    def state_bytes(self) -> int:
        """About how large a file `save_state` would write; 0 while there is nothing to save."""
        if self._context is None or self._shared is None or not self._shared.scheduler.slots.tokens_of(0):
            return 0
        return self._context.sequence_bytes(0)

    def load_state(self, path: Path) -> int:
        """Brings back what `save_state` wrote, so that prompts that begin with it are not evaluated again; returns the
        number of tokens.

        Raises:
            StateError: damaged, or of another model or build.
            ContextFullError: longer than the context.
        """
        from llamacli.engine.runtime import state as states

        state = states.read(path)
        scheduler = self._ready(len(state.tokens), None).scheduler
        scheduler.slots.adopt(0, [])  # restoring empties the place before it can fail
        if self._context is not None:
            states.restore(self._context, 0, state)
            scheduler.slots.adopt(0, list(state.tokens))
        return len(state.tokens)

    def cancel(self) -> None:
        """Ends what runs, from any thread: its events end with `Finished(reason="cancelled")`."""
        if self._shared is not None:
            self._shared.cancel()
        else:
            self._flag.set()

    def close(self) -> None:
        """Frees the context and the model. Calls that are under way on other threads raise ClosedError first.

        Called by a signal's handler, or by what a request calls back, it returns before that: it frees when the step is over.
        """
        self._closed = True
        self._flag.set()  # what runs on another thread need not be finished
        with self._preparing:
            if not self._grows:
                self._free()

    def _free(self) -> None:
        self.close_templates()
        context, self._context = self._context, None
        shared, self._shared = self._shared, None

        def free() -> None:
            if context is not None:
                context.close()
            self.model.close()

        if shared is not None:
            shared.close(free)
        else:
            free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
