"""An engine, or what measures, in the test's own process, for tests that watch or replace a part of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import msgspec

from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.stream import Source
from llamacli.backend.child.wire.faults import exception_of, fault_of
from llamacli.backend.child.wire.frames import Failure, Items, Result
from llamacli.backend.child.wire.method import Method, decoder_of, encoder_of
from llamacli.backend.child.work.main import Handler
from llamacli.backend.child.work.task import Task
from llamacli.bench.child.process import BenchProcess
from llamacli.engine.engine import Engine
from llamacli.engine.params import ContextParams, LoraAdapter, ModelParams
from llamacli.engine.runtime.canceller import Canceller


def open_in_process(
    path: Path,
    model: ModelParams,
    context: ContextParams,
    *,
    child: ChildParams | None = None,
    on_load: Callable[[float], None] | None = None,
) -> Engine:
    """Stand in for `cli.framework.context.open_engine`."""
    return Engine(path, model, context, on_load=on_load)


class InProcessChild:
    """Stand in for a child: a service's handlers in this process, behind the same wire of values."""

    pid = 0
    is_alive = True

    def __init__(self, handlers: Mapping[Method, Handler]) -> None:
        self._handlers = handlers

    def call(self, method: Method, arguments: Any = None, *, on_item: Callable[[Any], None] | None = None) -> Any:
        stream = self.stream(method, arguments)
        while True:
            try:
                item = next(stream)
            except StopIteration as stopped:
                return stopped.value
            if on_item is not None:
                on_item(item)

    def tell(self, method: Method, arguments: Any = None) -> None:
        self.call(method, arguments)

    def stream(
        self, method: Method, arguments: Any = None, *, source: Source | None = None, cancel: Canceller | None = None
    ) -> Generator[Any, Any, Any]:
        if source is not None:
            yield from self._handlers[method](arguments, _FedTask(source))
            return None
        messages = _Messages()
        task = Task(1, method, messages, 0, (), set)  # type: ignore[arg-type]
        packed = encoder_of(method.arguments)(arguments)

        def work() -> None:
            try:
                outcome = self._handlers[method](decoder_of(method.arguments)(packed), task)
                messages.put(Result(1, msgspec.Raw(encoder_of(method.result)(outcome))))
            except BaseException as error:  # noqa: BLE001 - raised again by the caller
                messages.put(Failure(1, fault_of(error)))

        thread = Thread(target=work)
        thread.start()
        try:
            while isinstance(message := messages.get(), Items):
                for raw in message.items:
                    answer = yield decoder_of(method.items)(raw)
                    if answer is not None:
                        task.feed([msgspec.Raw(encoder_of(method.feeds)(answer))], is_last=False)
            if isinstance(message, Failure):
                raise exception_of(message.fault)
            return None if method.result is None else decoder_of(method.result)(message.value)
        finally:
            task.leave()
            thread.join()

    def close(self) -> None:
        pass


class _Messages(SimpleQueue["Items | Result | Failure"]):
    """Stand in for an outbox: whatever is queued is there at once."""

    add = SimpleQueue.put

    def flush(self) -> None:
        pass


def open_bench_in_process(
    models: Sequence[Path],
    cancel: Canceller,
    *,
    loras: Sequence[LoraAdapter] = (),
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
    child: ChildParams | None = None,
) -> BenchProcess:
    """Stand in for `cli.framework.context.open_bench`."""
    from llamacli.bench.child.service import service

    return BenchProcess(models, cancel, loras=loras, params=child, start=lambda *_, **__: InProcessChild(service()))  # type: ignore[arg-type, return-value]


class _FedTask:
    """A task whose feeds are read at once, for a service that streams."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def fed(self, counts: Iterator[int]) -> Iterator[Any]:
        is_last = False
        while not is_last:
            items, is_last = self._source(next(counts))
            yield from items
