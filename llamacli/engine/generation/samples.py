"""Several answers to one prompt, which is evaluated once."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator

from llamacli.engine.events import Event, Finished, Prefill
from llamacli.engine.generation.sequence import Request
from llamacli.engine.generation.shared import SharedScheduler
from llamacli.engine.runtime.cancel import Canceller


def generate_samples(
    scheduler: SharedScheduler, request: Request, count: int, cancel: Canceller | None = None
) -> Iterator[Event]:
    """The events of `count` answers, their sequences numbered from 0, each with the seed after that of the one before.

    The others begin when the first has its prompt evaluated: the scheduler copies what they share with it.

    Raises: what `SharedScheduler.events` raises.
    """
    seed = request.params.sampling.seed
    seed = secrets.randbits(32) if seed is None else seed
    waiting = [_seeded(request, (seed + i) % 2**32) for i in range(count)]
    running = {0: scheduler.events(waiting.pop(0), cancel)}
    try:
        while running:
            for number, events in list(running.items()):
                event = next(events)
                yield dataclasses.replace(event, sequence=number)
                if isinstance(event, Finished):
                    del running[number]
                if waiting and isinstance(event, Prefill) and event.done == event.total:
                    running |= {count - len(waiting) + i: scheduler.events(other, cancel) for i, other in enumerate(waiting)}
                    waiting = []
    finally:
        for events in running.values():
            events.close()


def _seeded(request: Request, seed: int) -> Request:
    sampling = dataclasses.replace(request.params.sampling, seed=seed)
    return dataclasses.replace(request, params=dataclasses.replace(request.params, sampling=sampling))
