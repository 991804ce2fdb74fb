"""The search for the number of threads, on a simulated machine whose steps take exactly what they are said to take."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime import context_params
from llamacli.engine.runtime.context_params import adapts_threads
from llamacli.engine.runtime.threads import adaptive
from llamacli.engine.runtime.threads.adaptive import AdaptiveThreads
from llamacli.engine.runtime.threads.search import ThreadSearch
from llamacli.errors import DecodeError

WORK = 0.01
"""Seconds of a step with one thread."""


@dataclass(frozen=True)
class Machine:
    """Cores, of which other programs keep some busy. Threads without a core of their own make all threads of a step wait."""

    cores: int
    busy: int = 0
    noise: float = 0.0

    def seconds(self, count: int, random: random.Random) -> float:
        """The time of a step with so many threads."""
        free = max(1, self.cores - self.busy)
        alone = WORK / min(count, free) ** 0.8
        crowded = 1.0 if count <= free else 1.5 + 0.5 * (count - free)
        return alone * crowded * (1 + self.noise * random.random())

    def busy_share(self, count: int) -> float:
        """The share of the time in which the threads of a step compute."""
        return 0.95 if count <= self.cores - self.busy else 0.5

    def fastest(self, random: random.Random) -> float:
        """The time of a step with the best fixed number of threads."""
        return min(self.seconds(count, random) for count in range(1, self.cores + 1))


def run(search: ThreadSearch, machine: Machine, steps: int, tokens: int = 1, seed: int = 1) -> tuple[float, list[int]]:
    """Return the seconds of the steps, and the threads of each."""
    generator = random.Random(seed)
    total, used = 0.0, []
    while len(used) < steps:
        count = search.threads
        burst = min(search.steps or 4, steps - len(used), max(1, int(0.03 / machine.seconds(count, generator))))
        seconds = sum(machine.seconds(count, generator) for _ in range(burst))
        search.record(tokens, burst, seconds, machine.busy_share(count))
        total += seconds
        used += [count] * burst
    return total, used


@pytest.mark.parametrize("cores", [2, 4, 8, 16])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_load_from_the_beginning_costs_at_most_a_tenth(cores: int, share: float, noise: float) -> None:
    machine = Machine(cores, round(share * cores), noise)
    total, _ = run(ThreadSearch(cores), machine, 600 * (1 + (cores > 4)))
    best = machine.fastest(random.Random(1)) * (1 + noise / 2 if noise else 1)
    assert total <= 600 * (1 + (cores > 4)) * best / 0.9


@pytest.mark.parametrize("cores", [2, 4, 8])
@pytest.mark.parametrize("steps", [20, 128, 1000, 10000])
def test_an_idle_machine_loses_at_most_one_percent(cores: int, steps: int) -> None:
    machine = Machine(cores)
    total, _ = run(ThreadSearch(cores), machine, steps)
    assert total <= 1.01 * steps * machine.seconds(cores, random.Random(1))


def test_a_program_that_starts_is_noticed_within_a_few_steps() -> None:
    search = ThreadSearch(2)
    run(search, Machine(2), 100)
    _, used = run(search, Machine(2, 1), 60)
    assert used.index(1) <= 4
    assert used[12:].count(1) > 40


def test_threads_are_used_again_when_the_machine_is_free() -> None:
    search = ThreadSearch(2)
    run(search, Machine(2), 100)
    run(search, Machine(2, 1), 300)
    _, used = run(search, Machine(2), 200)
    assert used[-1] == 2
    assert used.index(2) <= 120


def test_trials_that_fail_become_rare_until_processors_are_freed() -> None:
    search = ThreadSearch(2)
    run(search, Machine(2), 100)
    _, used = run(search, Machine(2, 1), 2000)
    assert used[1000:].count(2) < used[:1000].count(2)
    while search.threads == 2:
        run(search, Machine(2, 1), 1)
    search.freed()
    _, used = run(search, Machine(2), 40)
    assert used.index(2) <= 4
    assert used[-1] == 2


def test_threads_that_wait_are_a_sign_from_the_first_steps() -> None:
    search = ThreadSearch(2)
    for _ in range(3):
        search.record(1, 1, 0.03, busy=0.4)
    assert search.threads == 1, "there is no better time to compare with yet"
    search = ThreadSearch(2)
    for _ in range(8):
        search.record(1, 1, 0.03, busy=0.95)
    assert search.threads == 2


def test_a_lucky_trial_is_undone_and_charged() -> None:
    search = ThreadSearch(2)
    run(search, Machine(2, 1), 40)
    while search.steps is None:
        search.record(1, 1, 0.010)
    assert search.threads == 2
    for _ in range(4):
        search.record(1, 1, 0.006)  # lucky
    assert search.steps is None
    assert search.threads == 2
    for _ in range(3):
        search.record(1, 1, 0.030)
    assert search.threads == 1, "without another trial"
    for _ in range(90):
        search.record(1, 1, 0.010)
        assert search.threads == 1, "until the 60 ms that it cost are three percent of the time"


def test_a_hiccup_is_no_trouble() -> None:
    search = ThreadSearch(2)
    for step in range(300):
        hiccup = step % 20 == 6
        search.record(1, 1, 0.02 if hiccup else 0.005, busy=0.4 if hiccup else 0.95)
        assert search.threads == 2


@pytest.mark.parametrize("seed", range(5))
def test_hiccups_again_and_again_lose_two_percent(seed: int) -> None:
    """Each lasts for a few steps: what it costs is not doubled by steps with fewer threads."""
    generator, search = random.Random(seed), ThreadSearch(2)
    now, lost, free, hiccup = 0.0, 0.0, 0.0, 0.0
    while now < 10:
        if now >= hiccup:
            free = now + generator.expovariate(2.5)
            hiccup = free + generator.uniform(0.015, 0.045)
        of_two, busy = (0.006, 0.98) if now < free else (0.013, 0.5)
        seconds, busy = (of_two, busy) if search.threads == 2 else (0.0105, 0.98)
        search.record(1, 1, seconds, busy)
        now, lost = now + seconds, lost + seconds - of_two
    assert lost < 0.02 * now


def test_a_quota_that_stops_some_steps_is() -> None:
    search = ThreadSearch(2)
    used = []
    for step in range(200):
        used.append(search.threads)
        stopped = step % 9 == 8 and search.threads == 2
        search.record(1, 1, 0.007 + (0.05 if stopped else 0.003 * (search.threads == 1)), busy=0.1 if stopped else 0.95)
    assert used.count(1) > 90


def test_the_growth_of_a_context_is_no_trouble() -> None:
    search = ThreadSearch(2)
    for step in range(400):
        search.record(1, 1, 0.01 * (1 + step / 2000))
        assert search.threads == 2


def test_batches_of_another_size_are_not_compared() -> None:
    search = ThreadSearch(2)
    for tokens in (1, 8, 1, 16, 3, 8, 1):
        for _ in range(5):
            search.record(tokens, 1, 0.01 * tokens)
            assert search.threads == 2
    prompts = ThreadSearch(2)
    for tokens in (512, 512, 300, 511, 400, 512):
        prompts.record(tokens, 1, 0.001 * tokens)
        assert prompts.threads == 2, "large ones are, by the token"


class Clock:
    """The clocks of a step: `seconds` of wall time a step, all threads computing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], float]) -> None:
        self.now = 0.0
        self.seconds = seconds
        monkeypatch.setattr(adaptive.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(adaptive.time, "process_time", lambda: 10 * self.now)

    def step(self, adaptive: AdaptiveThreads, tokens: int) -> None:
        with adaptive.step(tokens):
            self.now += self.seconds()


def test_the_context_is_told_only_of_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    adaptive = AdaptiveThreads(2, None, lambda one, batch: calls.append((one, batch)))
    clock = Clock(monkeypatch, lambda: 0.01)
    for _ in range(20):
        clock.step(adaptive, 1)
    assert calls == []
    clock.seconds = lambda: 0.05
    for _ in range(3):
        clock.step(adaptive, 1)
    assert calls[0] == (1, 1)
    clock.step(adaptive, 512)
    assert calls[-1] == (2, 2), "prompts have a number of their own"


def test_threads_for_batches_stay_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    adaptive = AdaptiveThreads(2, 2, lambda one, batch: calls.append((one, batch)))
    clock = Clock(monkeypatch, lambda: 0.01)
    for seconds in (0.01,) * 10 + (0.05,) * 10:
        clock.seconds = lambda seconds=seconds: seconds  # type: ignore[misc]
        clock.step(adaptive, 8)
    assert calls == []
    for seconds in (0.01,) * 10 + (0.05,) * 4:
        clock.seconds = lambda seconds=seconds: seconds  # type: ignore[misc]
        clock.step(adaptive, 1)
    assert calls[0] == (1, 2)


def test_a_step_that_failed_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    adaptive = AdaptiveThreads(2, None, lambda one, batch: None)
    clock = Clock(monkeypatch, lambda: 5.0)
    for _ in range(10):
        with suppress(DecodeError), adaptive.step(1):
            clock.now += 5.0
            raise DecodeError("failed")
        with adaptive.step(1) as step:
            clock.now += 5.0
            step.done = 0  # cancelled
    assert adaptive._generation.threads == 2


@pytest.mark.parametrize(
    ("context", "model", "adapts"),
    [
        ({}, {}, True),
        ({"threads": 2}, {}, False),
        ({"threads_batch": 2}, {}, True),
        ({}, {"kernels": "upstream"}, False),
        ({"flash_attention": "off"}, {"kernels": "upstream"}, True),
        ({"cache_type_k": "q8_0", "cache_type_v": "q8_0"}, {"kernels": "upstream"}, True),
    ],
)
def test_only_an_open_number_that_changes_no_result_adapts(
    monkeypatch: pytest.MonkeyPatch, context: dict[str, object], model: dict[str, object], adapts: bool
) -> None:
    class Library:
        def llama_supports_gpu_offload(self) -> bool:
            return False

        def llamacli_kernels_instructions(self) -> bytes:
            return b"AVX2"

    monkeypatch.setattr(context_params, "library", Library)
    monkeypatch.setattr(context_params, "default_threads", lambda: 2)
    assert adapts_threads(replace(ContextParams(), **context), replace(ModelParams(), **model)) is adapts  # type: ignore[arg-type]
    monkeypatch.setattr(context_params, "default_threads", lambda: 1)
    assert not adapts_threads(replace(ContextParams(), **context), replace(ModelParams(), **model))  # type: ignore[arg-type]
