"""A load test: requests at once or at random times, each with the times of its events."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import msgspec

from llamacli.backend.remote.client import Client, RefusedError
from llamacli.backend.remote.sse import read_events
from llamacli.bench.load.params import MOST_CONCURRENT, LoadTest, Request, Sample
from llamacli.bench.load.prompts import MakeRequest
from llamacli.errors import CancelledError, LlamacliError, RemoteError

_SEED = 7
_MOST_TOKENS = 1 << 40
_decoder = msgspec.json.Decoder()


class LoadRun:
    """One test against servers that share its requests in turn. `on_done` is called after each request, from any thread."""

    def __init__(
        self, clients: Sequence[Client], test: LoadTest, make: MakeRequest, on_done: Callable[[Sample], None] = lambda _: None
    ) -> None:
        self._clients = clients
        self._test = test
        self._make = make
        self._on_done = on_done
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._samples: list[Sample] = []
        self._started = 0.0

    def run(self) -> list[Sample]:
        """Return the requests that ended in time. Ended early by `cancel` of its clients, it returns those so far."""
        self._started = time.perf_counter()
        if self._test.seconds is not None:
            timer = threading.Timer(self._test.seconds, self._end)
            timer.start()
        workers = list(self._arrivals() if self._test.rate is not None else self._closed_loop())
        for worker in workers:
            worker.join()
        if self._test.seconds is not None:
            timer.cancel()
        with self._lock:
            return list(self._samples)

    def _end(self) -> None:
        """Cancel the requests under way, which do not count."""
        self._over.set()
        for client in self._clients:
            client.cancel()

    @property
    def _is_over(self) -> bool:
        return self._over.is_set() or any(client.is_cancelled() for client in self._clients)

    def _next(self) -> int | None:
        """Return the number of the next request, None after the last."""
        with self._lock:
            number = next(self._numbers)
        most = self._test.requests
        return None if self._is_over or (most is not None and number >= most) else number

    def _closed_loop(self) -> Iterator[threading.Thread]:
        def work() -> None:
            while (number := self._next()) is not None:
                self._ask(number, time.perf_counter())

        for _ in range(self._test.concurrency):
            thread = threading.Thread(target=work, name="load")
            thread.start()
            yield thread

    def _arrivals(self) -> Iterator[threading.Thread]:
        """Start requests at the times of a Poisson process, whether earlier ones have ended or not: times count from there."""
        assert self._test.rate is not None
        generator = random.Random(_SEED)  # no secret
        gate = threading.Semaphore(MOST_CONCURRENT)
        due = self._started

        def work(number: int, due: float) -> None:
            try:
                self._ask(number, due)
            finally:
                gate.release()

        while (number := self._next()) is not None:
            due += generator.expovariate(self._test.rate)
            if self._over.wait(max(0.0, due - time.perf_counter())) or self._is_over:
                return
            gate.acquire()
            thread = threading.Thread(target=work, args=(number, due), name="load")
            thread.start()
            yield thread

    def _ask(self, number: int, due: float) -> None:
        """Send one request and keep its sample, unless the test is over by then."""
        client = self._clients[number % len(self._clients)]
        sample = timed(client, self._make(number), due, self._started)
        if self._is_over:
            return
        with self._lock:
            self._samples.append(sample)
        self._on_done(sample)


class _Stream:
    """A streamed answer so far: the times of its text, its usage and its end. The server may send anything."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.usage: Mapping[str, Any] = {}
        self.is_whole = False
        self.failure = ""

    def add(self, text: str) -> None:
        """Take the data of an event, now. Raises DecodeError if it is not JSON."""
        now = time.perf_counter()
        if text == "[DONE]":
            self.is_whole = True
            return
        document = _decoder.decode(text)
        if not isinstance(document, dict):
            return
        choices = _choices(document)
        if any(map(_has_text, choices)):
            self.times.append(now)
        self.is_whole |= any(choice.get("finish_reason") for choice in choices)
        self.usage = _mapping(document.get("usage")) or self.usage
        if document.get("error"):
            self.failure = str(document["error"])

    @property
    def error(self) -> str | None:
        """The kind of failure of a stream that has ended, None if it is whole."""
        if self.failure:
            return "error in the stream"
        if not self.times:
            return "empty answer"
        return None if self.is_whole else "broken off"


def timed(client: Client, request: Request, due: float, started: float) -> Sample:
    """Send a request, read its answer, and return its sample. `due` and `started` are times of `perf_counter`."""
    stream = _Stream()
    try:
        response = client.open(f"{client.address.api}/{request.path}", request.body, retries=0)
        with closing(response):
            for text in read_events(response.portions()):
                stream.add(text)
        error, reason = stream.error, stream.failure
    except RefusedError as refused:
        error, reason = f"status {refused.refusal.status}", refused.refusal.message
    except CancelledError:
        error, reason = "cancelled", ""
    except RemoteError as failed:
        error, reason = ("broken off" if stream.times else "no connection"), failed.message
    except (LlamacliError, msgspec.DecodeError) as failed:
        error, reason = "invalid answer", str(failed)
    times, usage = stream.times, stream.usage
    ended = times[-1] if times else time.perf_counter()
    return Sample(
        due=due - started,
        ended=ended - started,
        ttft=times[0] - due if times else 0.0,
        gaps=tuple(later - earlier for earlier, later in itertools.pairwise(times)),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        cached_tokens=_count(_mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        tokens=_count(usage.get("completion_tokens")) or len(times),
        error=error,
        reason=reason,
    )


def _choices(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = document.get("choices")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _has_text(choice: Mapping[str, Any]) -> bool:
    """Return whether a choice of a chunk brings something of an answer."""
    delta = _mapping(choice.get("delta"))
    return bool(choice.get("text") or delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    """Return a number of tokens, 0 for what cannot be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS else 0
