"""Tasks and their documents: what the calls ask the engine, and what comes back.

These modules import the engine inside functions, so that importing `Llama` takes no time.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from llamacli.api.arguments.names import naming_arguments
from llamacli.errors import ClosedError

if TYPE_CHECKING:
    from llamacli.api.calls.task import Task
    from llamacli.engine.engine import Engine
    from llamacli.engine.events import Answer, AnswerEvent
    from llamacli.engine.runtime.canceller import Canceller
    from llamacli.openai.response import Document, Heading

T = TypeVar("T")

_thread = threading.local()


def cancellable(cancel: Canceller, call: Callable[[], T]) -> T:
    """Run `call`. Generation in it raises CancelledError when `cancel` is set, also when it continues later, elsewhere."""
    _thread.cancel = cancel
    try:
        return call()
    finally:
        _thread.cancel = None


def cancelled_by() -> Canceller | None:
    """Return what ends the call that runs on this thread, see `cancellable`."""
    found: Canceller | None = getattr(_thread, "cancel", None)
    return found


class Answering:
    """What answers tasks with an engine. A base of `Completions`."""

    def __init__(self, engine: Engine, *, name: str, seed: int | None, repeat_last_n: int = 64) -> None:
        self._engine = engine
        self._closed = False
        self._name = name
        self._seed = seed
        self._seed_lock = threading.Lock()
        from llamacli.engine.params import SamplingParams

        self._defaults = engine.sampling_defaults(SamplingParams(repeat_last_n=repeat_last_n))

    @property
    def engine(self) -> Engine:
        """Engine underneath.

        Raises:
            ClosedError: after `close()`.
            EngineError: in a process forked from the one that loaded it.
        """
        if self._closed:
            raise ClosedError("this Llama is closed")
        self._engine.require_own_process()
        return self._engine

    def _next_seed(self, seed: int | None) -> int | None:
        """Return the seed of a call, and keep it for the next: the given one, else one drawn from the last; None is random."""
        from llamacli.api.arguments import values

        with self._seed_lock:
            if seed is not None:
                self._seed = values.seed(seed)
            elif self._seed is not None:
                self._seed = random.Random(self._seed).randrange(2**32 - 1)
            return self._seed

    def _documents(
        self, heading: Heading, tasks: Sequence[Task], *, stream: bool, options: Mapping[str, Any] | None
    ) -> Document | Iterator[Document]:
        """Return the document of tasks, or the iterator of its chunks."""
        if not stream:
            return self._whole(heading, tasks)
        return self._stream(heading, tasks, includes_usage=bool(options and options.get("include_usage")))

    def _answers(self, tasks: Sequence[Task]) -> Generator[AnswerEvent, None, None]:
        """The events of all tasks, which run side by side. An error of one is raised."""
        from llamacli.engine.events import Answer, Failed

        with closing(self._events(tasks)) as events:
            for event in events:
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Answer):
                    self._check(tasks[event.index], event)
                yield event

    def _events(self, tasks: Sequence[Task]) -> Generator[AnswerEvent, None, None]:
        """The events of all tasks as the engine yields them."""
        return self.engine.answer_many((task.job() for task in tasks), cancel=cancelled_by())

    def _check(self, task: Task, answer: Answer) -> None:
        """Do nothing: an engine in this process keeps to the constraint of a task."""

    def _whole(self, heading: Heading, tasks: Sequence[Task]) -> Document:
        from llamacli.api.arguments.request import total_usage
        from llamacli.engine.events import Answer
        from llamacli.openai import response

        answers = {event.index: event for event in self._answers(tasks) if isinstance(event, Answer)}
        choices = [task.documents(heading).choice(answers[task.index]) for task in tasks]
        timings = response.timings(answers[0].timings, answers[0].usage) if heading.is_chat else None
        return heading.document(choices, usage=response.usage(total_usage(list(answers.values()))), timings=timings)

    @naming_arguments
    def _stream(self, heading: Heading, tasks: Sequence[Task], *, includes_usage: bool) -> Iterator[Document]:
        from llamacli.api.arguments.request import total_usage
        from llamacli.engine.events import Answer, Piece
        from llamacli.openai import response

        makers = [task.documents(heading) for task in tasks]
        offsets = [0] * len(tasks)
        ends = []
        for task, maker in zip(tasks, makers, strict=True):
            if (chunk := maker.first_chunk(task.index)) is not None:
                yield chunk
        for event in self._answers(tasks):
            if isinstance(event, Piece):
                yield from makers[event.index].chunks(event, offsets[event.index])
                offsets[event.index] += sum(len(delta.content) for delta in event.deltas)
            elif isinstance(event, Answer):
                ends.append(event)
                usage = None if heading.is_chat or includes_usage else response.usage(event.usage)
                yield makers[event.index].last_chunk(event, usage=usage)
        if includes_usage:
            yield makers[0].usage_chunk(total_usage(ends))
