"""An engine in a child process, with the interface of the one in this process."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llamacli.backend.child import contract
from llamacli.backend.child.contract import AnswerRequest, JobRequest, OpenModel, RoomWanted
from llamacli.backend.child.media import bounded, media_of, send_media
from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.child import Child
from llamacli.backend.child.process.start import ChildOwner, start_child
from llamacli.backend.child.prompting import ChildPrompting
from llamacli.backend.child.state import ChildState
from llamacli.backend.child.wire.codec import encode
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent, Failed, Prefill
from llamacli.engine.generation.job import Job
from llamacli.engine.generation.room import Room
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import EngineDiedError, MemoryFullError
from llamacli.gguf.split import part_names
from llamacli.store.prompt_cache import BLOCK

if TYPE_CHECKING:
    from llamacli.backend.prompt_cache import CachedPrompts
    from llamacli.engine.embedding.outcome import Outcome
    from llamacli.engine.embedding.params import EmbeddingParams
    from llamacli.engine.embedding.window import Text

logger = logging.getLogger(__name__)

SERVICE = "llamacli.backend.child.services.engine"

_LEAST_QUESTION = 4 * BLOCK
"""Least bytes of a question whose prompt may be in the prompt cache."""


class ChildEngine(ChildPrompting, ChildState, ChildOwner):
    """Loads a model in a child and answers through it. `on_load` is called with the progress of loading, 0 to 1.

    `start` starts a child, which this object owns: `close()` ends it, and may be called twice. A context manager. `prompts_of`
    returns where its evaluated prompts are kept; with `foresees` it has something to do while the model loads.

    Raises (when built): what `Engine` raises; EngineDiedError if the child dies meanwhile, as all methods do.
    """

    def __init__(
        self,
        start: Callable[[], Child],
        arguments: OpenModel,
        on_load: Callable[[float], None] | None = None,
        *,
        prompts_of: Callable[[ChildEngine], CachedPrompts] | None = None,
        foresees: bool = False,
    ) -> None:
        self._start = start
        self._arguments = arguments
        self._prefix_bytes = 0
        self._prompts_of = prompts_of
        self._prompts: CachedPrompts | None = None
        self._foresees = foresees
        self._load(on_load)

    def _load(self, on_load: Callable[[float], None] | None = None) -> None:
        self._child = self._start()

        def on_item(share: float) -> None:
            _ = self.prompts  # while C reads the weights
            if on_load is not None:
                on_load(share)

        def meanwhile() -> None:
            if self._foresees:
                _ = self.prompts
            if on_load is not None:
                on_load(0.0)  # a resident has nothing to load, and the caller something to do

        try:
            self._opened = self._child.call(contract.OPEN, self._arguments, on_item=on_item, meanwhile=meanwhile)
            if self._prefix_bytes:
                self.keep_prefixes(self._prefix_bytes)
        except EngineDiedError:
            from llamacli.gguf.check.loadable import check_loadable  # the child has not looked at all of the file before

            self._child.abandon()
            check_loadable(self._arguments.path, vocabulary_only=self._arguments.model.vocabulary_only)
            raise
        except BaseException:
            self._child.abandon()
            raise

    @property
    def prompts(self) -> CachedPrompts | None:
        """The prompts of this engine on disk, if they are kept. They are opened by the first prompt that is long enough."""
        if self._prompts is None and self._prompts_of is not None:
            self._prompts = self._prompts_of(self)
        return self._prompts

    def revive(self) -> None:
        """Load the model in a new child if this one has died. Raises as when built."""
        if not self.is_alive:
            self._restart()

    def _restart(self) -> None:
        self._child.close()
        self._load()

    @property
    def child(self) -> Child:
        """The child that has the model now: another one after `revive`."""
        return self._child

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._child.pid

    # --- answers --------------------------------------------------------------------------------------------------------

    def answer(
        self,
        turn: Turn,
        params: GenerationParams | None = None,
        *,
        samples: int = 1,
        started: Sequence[int] = (),
        closes_gap: bool = False,
        make_room: Callable[[int], Room | None] | None = None,
        cancel: Canceller | None = None,
    ) -> Generator[AnswerEvent, None, None]:
        """Return the events of the answer to a turn. See `Engine.answer`.

        Up to the first token the child waits for each event to be taken, so that the caller can save the evaluated prompt.
        """
        request = AnswerRequest(turn, params, samples, tuple(started), closes_gap, make_room is not None)
        begun = started or turn.started
        is_short = len(turn.prompt.tokens) + len(begun) < BLOCK
        if is_short or self.prompts is None or not self.prompts.take(params, closes_gap=closes_gap):
            return self._answer(request, make_room, cancel)
        return self.prompts.answer(turn, begun, partial(self._answer, request, make_room, cancel))

    def _answer(
        self, request: AnswerRequest, make_room: Callable[[int], Room | None] | None, cancel: Canceller | None
    ) -> Generator[AnswerEvent, None, None]:
        send_media(self._child, media_of(request.turn))
        stream = self._child.stream(contract.ANSWER, request, lockstep=_is_prefill, cancel=cancel)
        answer: Any = None
        while True:
            try:
                event = stream.send(answer)
            except StopIteration:
                return
            if isinstance(event, RoomWanted) and make_room is not None:
                answer = (make_room(event.tokens),)
            else:
                answer = None
                try:
                    yield event
                except BaseException:
                    stream.close()
                    raise

    def answer_many(
        self,
        jobs: Iterator[Job | None],
        *,
        parallel: int | Literal["auto"] | None = None,
        cancel: Canceller | None = None,
    ) -> Generator[AnswerEvent, None, None]:
        """Return the events of many answers side by side, each with its job's number. See `Engine.answer_many`.

        When the child dies, a new one tries the jobs that were in flight again, one by one; a job that kills twice has failed.
        """
        if self.prompts is not None:
            return self.prompts.answer_many(jobs, lambda jobs: self._answer_many(jobs, parallel, cancel))
        return self._answer_many(jobs, parallel, cancel)

    def _answer_many(
        self, jobs: Iterator[Job | None], parallel: int | Literal["auto"] | None, cancel: Canceller | None
    ) -> Generator[AnswerEvent, None, None]:
        in_flight: dict[int, Job] = {}
        while True:
            child = self._child
            try:
                yield from self._answer_side_by_side(jobs, in_flight, parallel, cancel)
            except (EngineDiedError, MemoryFullError) as error:
                if child.is_alive:
                    raise
                logger.warning("%s: the answers in progress are tried again, one by one", error.message)
                yield from self._answer_one_by_one(list(in_flight.values()), cancel)
                in_flight.clear()
            else:
                return

    def _answer_side_by_side(
        self,
        jobs: Iterator[Job | None],
        in_flight: dict[int, Job],
        parallel: int | Literal["auto"] | None,
        cancel: Canceller | None,
    ) -> Generator[AnswerEvent, None, None]:
        """Yield the events of jobs; those that the child works on are in `in_flight`."""
        jobs = bounded(jobs, in_flight)

        def source(count: int) -> tuple[list[JobRequest | None], bool]:
            taken = []
            for job in _up_to_none(itertools.islice(jobs, count)):
                taken.append(job)
                if job is not None:
                    in_flight[job.number] = job
                    send_media(self._child, media_of(job.turn))
            requests = [None if job is None else JobRequest(job.number, job.turn, job.params) for job in taken]
            return requests, len(taken) < count and None not in taken

        with closing(self._child.stream(contract.ANSWER_MANY, parallel, source=source, cancel=cancel)) as events:
            for event in events:
                if isinstance(event, Answer | Failed):
                    del in_flight[event.index if isinstance(event, Answer) else event.sequence]
                yield event

    def _answer_one_by_one(self, jobs: Sequence[Job], cancel: Canceller | None) -> Generator[AnswerEvent, None, None]:
        """Yield the events of each job, alone in a child; a dead one is replaced."""
        for job in jobs:
            self.revive()
            try:
                yield from self._answer_side_by_side(iter([job]), {}, 1, cancel)
            except (EngineDiedError, MemoryFullError) as error:
                if self.is_alive:
                    raise
                yield Failed(job.number, error)
        self._restart()  # with a context for one sequence it would answer the others one by one, too

    def embed(self, texts: Iterable[Text], params: EmbeddingParams | None = None) -> Iterator[Outcome]:
        """Yield the vectors of each text, in order: float32, (rows, dimension). Raises as `Embedder.embed`."""
        from llamacli.backend.child import vectors

        return vectors.embed(self._child, vectors.VectorRequest(params), texts)

    def rerank(self, query: str, texts: Iterable[Text], params: EmbeddingParams | None = None) -> Iterator[Outcome]:
        """Yield the scores of each text as an answer to `query`, in order. Raises as `Embedder.rerank`."""
        from llamacli.backend.child import vectors

        return vectors.embed(self._child, vectors.VectorRequest(params, query), texts)

    def keep_prefixes(self, capacity: int) -> None:
        """Keep evaluated prompts in up to `capacity` bytes of memory when others take their slots; 0 keeps none from now on."""
        self._prefix_bytes = capacity
        self._child.call(contract.KEEP_PREFIXES, capacity)

    # --- the end --------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End what runs, from any thread: its answers end with finish reason "cancelled"."""
        self._child.tell(contract.CANCEL)

    def close(self) -> None:
        """End the child. Calls that run on other threads raise ClosedError. Waits until the last prompt is kept."""
        if self._prompts is not None:
            self._prompts.release()
        self._child.close()
        if self._prompts is not None:
            self._prompts.close()


def _is_prefill(event: object) -> bool:
    return isinstance(event, Prefill)


def _up_to_none(jobs: Iterator[Job | None]) -> Iterator[Job | None]:
    """The jobs up to the first None, included."""
    for job in jobs:
        yield job
        if job is None:
            return


def open_engine(
    path: Path,
    model: ModelParams,
    context: ContextParams,
    *,
    child: ChildParams | None = None,
    on_load: Callable[[float], None] | None = None,
) -> ChildEngine:
    """Load a model in a child. Raises what `ChildEngine` raises."""
    files = [path, *map(Path, model.companions)]
    reads = [one.with_name(name) for one in files for name in part_names(one.name)]
    arguments = OpenModel(str(path), model, context)
    child = replace(child or ChildParams(), rpc=model.rpc)
    start = partial(start_child, SERVICE, reads, child, model=path, identity=encode(arguments))
    foresees = child.prompt_cache and len(child.question) >= _LEAST_QUESTION

    def prompts_of(engine: ChildEngine) -> CachedPrompts:
        from llamacli.backend.prompt_cache import CachedPrompts
        from llamacli.store.prompt_cache.cache import PromptCache

        question = _number_of(child.question, path, arguments) if foresees else None
        return CachedPrompts(engine, PromptCache(limit=child.cache_size), path.name, question=question)

    return ChildEngine(start, arguments, on_load, prompts_of=prompts_of if child.prompt_cache else None, foresees=foresees)


def _number_of(question: bytes, path: Path, arguments: OpenModel) -> str:
    """Return a hexadecimal number that stands for a question to a model with these parameters."""
    import hashlib

    about = path.stat() if path.exists() else None
    version = (about.st_size, about.st_mtime_ns) if about is not None else ()
    return hashlib.sha256(encode((str(path.resolve()), version, encode(arguments), question))).hexdigest()
