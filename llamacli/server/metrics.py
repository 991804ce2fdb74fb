"""Measurements for Prometheus: requests, tokens, times, and the state of the models at the time of the question."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from llamacli.server.http.exchange import Record
    from llamacli.server.models.pool import ModelPool

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_TOKENS = {
    "prompt_tokens": "Tokens of prompts",
    "cached_tokens": "Tokens of prompts that were in the cache",
    "restored_tokens": "Tokens of prompts that came from the prompt cache on disk",
    "completion_tokens": "Tokens of answers",
    "drafted_tokens": "Tokens of answers that were drafted",
    "accepted_tokens": "Drafted tokens that became part of an answer",
}
"""The counters of tokens, which are attributes of a request's record."""

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """The counters and histograms of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "llamacli_requests", "Requests by path and status", ["path", "status"], registry=self._registry
        )
        self._tokens = {name: self._counter(name, meaning) for name, meaning in _TOKENS.items()}
        self._of_model: dict[str, list[tuple[str, Counter]]] = {}
        self._first = self._seconds("time_to_first_token_seconds", "Seconds from a request to its first token", _SECONDS)
        self._between = self._seconds("inter_token_seconds", "Seconds between two tokens of an answer", _TOKEN_SECONDS)
        self._queued = self._seconds("queue_seconds", "Seconds that a request waited for a place", _SECONDS)
        self._lag = 0.0
        self._longest_lag = Gauge(
            "llamacli_event_loop_longest_lag_seconds",
            "Longest time for which requests had to wait for others to be read",
            registry=self._registry,
        )
        self._whole = self._seconds("request_seconds", "Seconds of a whole request", _SECONDS)

    def _counter(self, name: str, help: str) -> Counter:  # noqa: A002  # Prometheus' name
        return Counter(f"llamacli_{name}", help, ["model"], registry=self._registry)

    def _seconds(self, name: str, help: str, buckets: tuple[float, ...]) -> Histogram:  # noqa: A002
        return Histogram(f"llamacli_{name}", help, ["model"], buckets=buckets, registry=self._registry)

    def observe_lag(self, seconds: float) -> None:
        """Note that the event loop came so late to what was due: something had blocked it, or the system had no time."""
        self._lag = max(self._lag, seconds)
        self._longest_lag.set(self._lag)

    def watch(self, pool: ModelPool) -> None:
        """Tell the state of the models, too."""
        self._registry.register(_PoolState(pool))

    def count(self, record: Record, route: str) -> None:
        """Count a request that has ended, under the pattern of its path."""
        self._requests.labels(route, str(record.status)).inc()
        if record.model:
            for name, counter in self._counters(record.model):
                if amount := getattr(record, name):
                    counter.inc(amount)
            self._whole.labels(record.model).observe(record.seconds)
            for value, histogram in ((record.queued, self._queued), (record.first_token, self._first)):
                if value is not None:
                    histogram.labels(record.model).observe(value)

    def _counters(self, model: str) -> list[tuple[str, Counter]]:
        """The counters of tokens of a model by the attribute of a record. They are looked up once."""
        if model not in self._of_model:
            self._of_model[model] = [(name, counter.labels(model)) for name, counter in self._tokens.items()]
        return self._of_model[model]

    def observe_tokens(self, model: str, tokens: int, seconds: float) -> None:
        """Count tokens that came `seconds` after those before them."""
        histogram = self._between.labels(model)
        for _ in range(tokens):
            histogram.observe(seconds / tokens)

    def text(self) -> bytes:
        """Return all measurements in Prometheus' text format."""
        return generate_latest(self._registry)


class _PoolState(Collector):
    """The gauges of the models."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the gauges as they are now."""
        running = GaugeMetricFamily("llamacli_running", "Answers that run now", labels=["model"])
        waiting = GaugeMetricFamily("llamacli_waiting", "Requests that wait for a place", labels=["model"])
        loaded = GaugeMetricFamily("llamacli_loaded", "1 if the model is loaded", labels=["model"])
        for model in self._pool.loaded():
            running.add_metric([model.name], model.admission.running)
            waiting.add_metric([model.name], model.admission.waiting)
        for name in self._pool.names:
            loaded.add_metric([name], self._pool.state_of(name)[0] == "loaded")
        yield from (running, waiting, loaded)
