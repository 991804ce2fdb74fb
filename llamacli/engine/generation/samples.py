"""Several answers to one prompt, which is evaluated once."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Generator
from contextlib import closing

from llamacli.engine.events import Event, Prefill
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.shared import SharedScheduler, Source
from llamacli.engine.runtime.canceller import Canceller


def stream_samples(
    scheduler: SharedScheduler,
    request: Request,
    count: int,
    cancel: Canceller | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> Generator[tuple[int, Event], None, None]:
    """Yield the events of `count` answers, numbered from 0, each with the seed after that of the answer before it.

    The others start when the prompt of the first is evaluated: the scheduler copies what they share with it.

    `on_wait`: see `SharedScheduler.stream`. Raises what that raises.
    """
    evaluated = False

    def source() -> Source:
        seed = request.params.sampling.seed
        seed = secrets.randbits(32) if seed is None else seed
        yield 0, _seeded(request, seed)
        while not evaluated:
            yield None
        for number in range(1, count):
            yield number, _seeded(request, (seed + number) % 2**32)

    with closing(scheduler.stream(source(), cancel, on_wait)) as events:
        for number, event in events:
            evaluated = evaluated or not isinstance(event, Prefill) or event.done == event.total
            yield number, event


def _seeded(request: Request, seed: int) -> Request:
    sampling = dataclasses.replace(request.params.sampling, seed=seed)
    return dataclasses.replace(request, params=dataclasses.replace(request.params, sampling=sampling))
