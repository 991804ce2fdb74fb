"""A model with its context and its scheduler: questions in, answers out, in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from llamacli.binding.library import SPAWN
from llamacli.engine.chat.answers.reader import AnswerBuilder, read_answers
from llamacli.engine.chat.turn import Turn
from llamacli.engine.embedding.defaults import stated_pooling
from llamacli.engine.events import Answer, AnswerEvent, Event, Failed, Finished, NextToken, Timings, Usage
from llamacli.engine.generation.contexts import Contexts
from llamacli.engine.generation.job import Job
from llamacli.engine.generation.job_window import LOOK_AHEAD, JobWindow, Tuner
from llamacli.engine.generation.request import Processor, Request, request_of
from llamacli.engine.generation.room import Room, stream_with_room
from llamacli.engine.generation.samples import stream_samples
from llamacli.engine.generation.shared import SharedScheduler
from llamacli.engine.params import ContextParams, Description, GenerationParams, ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.canceller import Canceller
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.model import Model
from llamacli.engine.vectors import Vectors
from llamacli.errors import EngineError, ModelUnsupportedError

Stream = Generator[tuple[int, Event], None, None]


class Engine(Vectors):
    """Loads a model and answers. A context manager; `close()` frees everything and may be called twice.

    `cancel` may be made by the caller beforehand, so that loading can be cancelled too. `on_load` is called with the progress
    of loading, 0 to 1. `may_die`: see `Model`. `loaded` is the model if it has been loaded already: the engine owns it then.

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
        may_die: bool = False,
        loaded: Model | None = None,
    ) -> None:
        self._process = os.getpid()
        flag, model, context = cancel or CancelFlag(), model or ModelParams(), context or ContextParams()
        vocab_only = model.vocabulary_only
        if not vocab_only and (model.draft_model is not None or model.mtp):
            from llamacli.gguf.check.drafts import check_drafts  # few models have drafts
            from llamacli.gguf.check.loadable import check_headers

            check_drafts(check_headers(path), model.draft_model, mtp=model.mtp)
        if loaded is None:
            loaded = Model(path, model, cancel=flag, on_load=on_load, vocab_only=vocab_only, may_die=may_die)
        encoder = self._draft_model = None
        try:
            if model.draft_model is not None and not vocab_only:
                from llamacli.engine.generation.drafts.draft_model import DraftModel

                self._draft_model = DraftModel(Path(model.draft_model), model, loaded, flag, may_die=may_die)
            if loaded.params.mmproj is not None and not vocab_only:
                from llamacli.engine.media.encoder import MediaEncoder  # most models take text only

                threads = context.threads_batch or context.threads or default_threads()
                encoder = MediaEncoder(loaded, Path(loaded.params.mmproj), threads=threads)
        except BaseException:
            if self._draft_model is not None:
                self._draft_model.close()
            loaded.close()
            raise
        super().__init__(loaded, Contexts(loaded, context, flag, encoder, self._draft_model), encoder)

    def require_own_process(self) -> None:
        """Raise EngineError in a process forked from the one that loaded the model: its threads are missing there."""
        if os.getpid() != self._process:
            raise EngineError(
                "this model was loaded before the process was forked, and cannot be used in the child", hint=SPAWN
            )

    @property
    def is_alive(self) -> bool:
        """True: an engine in this process does not outlive it."""
        return True

    def revive(self) -> None:
        """Do nothing: this engine is alive."""

    @property
    def load_ms(self) -> float:
        """Milliseconds that loading took."""
        return self.model.load_ms

    @property
    def notes(self) -> list[str]:
        """Deviations from what was requested, one sentence each."""
        return self.model.notes

    @property
    def description(self) -> str:
        """Architecture, size class and quantization."""
        return self.model.description

    @property
    def n_ctx(self) -> int:
        """Tokens that a sequence may have; grows with the prompts unless the context size was given."""
        return self.contexts.n_ctx

    @property
    def has_vocabulary(self) -> bool:
        """True: tokens are known here."""
        return True

    @property
    def n_parallel(self) -> int:
        """Sequences that run at once."""
        return self.contexts.n_parallel

    def context_for(self, prompt: int, max_tokens: int | None) -> int:
        """Return the size of the context for `max_tokens` after `prompt` tokens."""
        return max(self.contexts.size_for(prompt, max_tokens), self.n_ctx if self.contexts.is_made else 0)

    # --- answers --------------------------------------------------------------------------------------------------------

    def answer(
        self,
        turn: Turn,
        params: GenerationParams | None = None,
        *,
        samples: int = 1,
        processor: Processor | None = None,
        started: Sequence[int] = (),
        closes_gap: bool = False,
        make_room: Callable[[int], Room | None] | None = None,
        cancel: Canceller | None = None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> Generator[AnswerEvent, None, None]:
        """Return the events of the answer to a turn: `Prefill`, `Piece`, and at the end one `Answer` for each of `samples`.

        Closing the iterator ends the work, and `cancel` does so from any thread. Safe from any thread.

        `processor` changes the logits before each choice. `started` are tokens with which the answer starts; they are events
        like the others. `closes_gap` moves up what the cache holds behind a gap (see `Request`). `make_room` is called with
        the number of tokens of the answer when the context is full; it returns how to go on, None ends the answer. Several
        samples share the evaluation of the prompt, numbered from 0, and run side by side if the context has as many sequences.
        `on_wait` is called when all events so far were taken, before the next ones are computed or waited for.

        Raises:
            ContextFullError, MemoryFullError: if the prompt, or the context that it needs, does not fit.
            ModelUnsupportedError: if the model does not generate text.
            CancelledError: if `cancel` was set.
            ClosedError: if `close()` was called.
            DecodeError, GrammarError, ConstraintError: as documented there.
        """
        requested = time.perf_counter()
        params = params or GenerationParams()
        if make_room is None:
            request = request_of(turn, params, processor=processor, started=started, closes_gap=closes_gap)
            events = self._stream(request, samples, cancel, on_wait)
        else:

            def start(turn: Turn, params: GenerationParams, started: tuple[int, ...], closes_gap: bool) -> Stream:
                request = request_of(turn, params, processor=processor, started=started, closes_gap=closes_gap)
                return self._stream(request, 1, cancel, on_wait)

            events = stream_with_room(start, turn, params, tuple(started), closes_gap=closes_gap, make_room=make_room)
        keeps = params.logprobs is not None

        def builder_of(number: int) -> AnswerBuilder:
            return AnswerBuilder(turn, number, keeps_tokens=keeps, raises=True, requested=requested)

        return read_answers(events, builder_of)

    def answer_many(
        self,
        jobs: Iterator[Job | None],
        *,
        parallel: int | Literal["auto"] | None = None,
        cancel: Canceller | None = None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> Generator[AnswerEvent, None, None]:
        """Yield the events of many answers side by side, each with its job's number; the last of each is `Answer` or `Failed`.

        Jobs are taken when places come free; None among them means that none is available until another has ended. `parallel`
        is the number of sequences, each independent of the others to the bit where that can be had; "auto" finds the number
        that is fastest. None uses the sequences that the engine was made with. For one caller at a time unless it is None.

        `on_wait`, and what is raised: as `answer`, for what concerns all jobs.
        """
        window = JobWindow(jobs, lambda job: self.context_for(len(job.turn.prompt.tokens), job.params.max_tokens))

        def builder_of(number: int) -> AnswerBuilder:
            job = window.job(number)
            keeps = job.params.logprobs is not None
            return AnswerBuilder(job.turn, number, keeps_tokens=keeps, requested=window.requested(number))

        while window.fill(LOOK_AHEAD):
            size = window.grow()
            if parallel is None:
                shared = self._ready_for(size - 1, 0)
            else:
                self._require_generation()
                count = None if parallel == "auto" else parallel
                shared = self.contexts.parallel(size, count, shared=window.shares_prefix)
                if parallel == "auto":
                    shared.scheduler.tuner = Tuner(shared.scheduler, shared.scheduler.limit).step
            requests = window.requests(_request_of)
            with closing(read_answers(shared.stream(requests, cancel, on_wait), builder_of)) as events:
                for event in events:
                    if isinstance(event, Answer):
                        window.done(event.index)
                    elif isinstance(event, Failed):
                        window.done(event.sequence)
                    yield event

    def _stream(self, request: Request, samples: int, cancel: Canceller | None, on_wait: Callable[[], None]) -> Stream:
        shared = self._ready_for(len(request.prompt), request.params.max_tokens)
        if shared.is_cancelled:  # while the context was made
            return _cancelled(request)
        if samples > 1:
            return stream_samples(shared, request, samples, cancel, on_wait)
        return shared.stream(iter(((0, request),)), cancel, on_wait)

    def _ready_for(self, prompt: int, max_tokens: int | None) -> SharedScheduler:
        self._require_generation()
        return self.contexts.ready(prompt, max_tokens)

    def _require_generation(self) -> None:
        if not self.model.can_generate or self.model.has_encoder:
            raise ModelUnsupportedError("this model does not generate text", hint="llamacli embed uses embedding models")

    # --- tokens ---------------------------------------------------------------------------------------------------------

    def tokenize(self, text: str, *, add_special: bool = False, special: bool = False) -> list[int]:
        """Return the token ids of a text. `special` recognizes control tokens in it, `add_special` adds BOS and EOS."""
        return self.model.vocabulary.tokenize(text, add_special=add_special, special=special)

    def next_tokens(self, text: str) -> list[NextToken]:
        """Return every token of the vocabulary with its probability after a text, before any sampler.

        Raises:
            UsageError: if the text has no token, and the model adds none.
            ContextFullError: if there are more tokens than the model was trained for.
            MemoryFullError, DecodeError: as `Context`.
        """
        from llamacli.engine.generation.next_token import next_tokens

        return next_tokens(self.model, self.text_prompt(text).tokens)

    def describe(self) -> Description:
        """Return the model's name, size and limits."""
        return Description(
            model=self.model.path.name,
            kind=self.description,
            n_ctx=self.n_ctx,
            n_ctx_train=self.model.n_ctx_train,
            n_parallel=self.n_parallel,
            n_vocab=self.model.vocabulary.size,
            has_chat_template=self.has_chat_template,
            chat_template=self.model.chat_template(),
            can_generate=self.model.can_generate and not self.model.has_encoder,
            pooling=stated_pooling(self.model.header),
            n_embd=self.model.n_embd,
            size=self.model.header.size,
            takes=self.takes,
            sound_rate=self.encoder.sound_rate if self.encoder is not None else None,
        )

    def cancel(self) -> None:
        """End what runs, from any thread: its answers end with finish reason "cancelled"."""
        self.contexts.cancel()

    def close(self) -> None:
        """Free the context and the model. Calls that run on other threads raise ClosedError first.

        In a signal handler or a callback of a request it returns before that: everything is freed when the step ends.
        """
        self.contexts.close(self._free)

    def _free(self) -> None:
        self.close_embedder()
        self.close_templates()
        if self.encoder is not None:
            self.encoder.close()
        if self._draft_model is not None:
            self._draft_model.close()
        self.model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _request_of(job: Job) -> Request:
    return request_of(job.turn, job.params, processor=job.processor, criterion=job.criterion)


def _cancelled(request: Request) -> Stream:
    yield 0, Finished(0, "cancelled", Usage(len(request.prompt), 0), Timings(0, 0.0, 0, 0.0))
