"""`llamacli bench tune`: the search on known landscapes with known noise, and the command on a tiny model."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest

from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.trial import Phase, Way
from llamacli.engine.tuning import Tuner
from llamacli.engine.tuning_dimensions import Dimension, dimensions, pinned
from llamacli.engine.tuning_params import Choice, Gain, TuneEvent, TunePlan, TuneReport
from llamacli.errors import CancelledError, ModelUnsupportedError

N_PROMPT, N_GEN = 512, 64


def make_way(**context: object) -> Way:
    return Way(model=ModelParams(), context=ContextParams(**{"threads": 4, "threads_batch": 4, **context}))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamacli.engine.tuning_dimensions.default_threads", lambda: 4)


def all_dimensions(**changes: object) -> list[Dimension]:
    return dimensions(N_PROMPT, **{"logical_cpus": 8, "layers": 31, "has_gpu": False, **changes})  # type: ignore[arg-type]


@dataclass
class Landscape:
    """Speeds by settings, noise (the deviation of the logarithm), and a clock that goes on by what was measured."""

    speeds: Callable[[Way, Phase], float]
    noise: float = 0.02
    seed: int = 0
    cancel_after: int | None = None
    now: float = 0.0
    asked: list[tuple[Way, Phase]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def measure(self, way: Way, phase: Phase) -> float:
        if self.cancel_after is not None and len(self.asked) >= self.cancel_after:
            raise CancelledError("cancelled")
        self.asked.append((way, phase))
        speed = self.speeds(way, phase) * self.random.lognormvariate(0, self.noise)
        self.now += (N_PROMPT if phase == "prompt" else N_GEN) / speed
        return speed

    def clock(self) -> float:
        return self.now


def flat(_way: Way, phase: Phase) -> float:
    return 1000.0 if phase == "prompt" else 100.0


THREADS: Mapping[int, float] = {1: 0.4, 2: 1.5, 3: 1.0, 4: 0.9, 8: 0.2}


def peaked(way: Way, phase: Phase) -> float:
    """Generation is best with 2 threads, prompts with 3 and a micro-batch of 128; flash attention helps both."""
    context = way.context
    speed = flat(way, phase) * (1.2 if context.flash_attention == "on" else 1.0)
    if phase == "generation":
        return speed * THREADS[context.threads or 4]
    return speed * {3: 1.25}.get(context.threads_batch or 4, 1.0) * {128: 1.3, 64: 0.8}.get(context.n_ubatch, 1.0)


def tune(land: Landscape, start: Way | None = None, budget: float = 120.0, **changes: object) -> TuneReport:
    *_, last = events(land, start, budget, **changes)
    assert isinstance(last, TuneReport)
    return last


def events(land: Landscape, start: Way | None = None, budget: float = 120.0, **changes: object) -> Iterator[TuneEvent]:
    plan = TunePlan(budget=budget, n_prompt=N_PROMPT, n_gen=N_GEN, seed=land.seed)
    return Tuner(start or make_way(flash_attention="off"), all_dimensions(**changes), land.measure, plan, land.clock).run()


def shown(gain: Gain | None) -> Gain:
    assert gain is not None
    assert gain.is_shown
    return gain


@pytest.mark.parametrize("seed", range(5))
def test_the_optimum_is_found(seed: int) -> None:
    report = tune(Landscape(peaked, seed=seed))
    found = report.best.context
    assert (found.threads, found.threads_batch, found.n_ubatch, found.flash_attention) == (2, 3, 128, "on")
    generation, prompt = shown(report.generation), shown(report.prompt)
    for gain, truth in ((generation, 1.2 * 1.5 / 0.9), (prompt, 1.2 * 1.25 * 1.3)):
        assert gain.outcome.interval is not None
        low, high = gain.outcome.interval
        assert low <= truth <= high
        assert gain.after / gain.before == pytest.approx(truth, rel=0.05)
    assert not report.interrupted


def test_no_gain_is_claimed_where_there_is_none() -> None:
    claims = 0
    for seed in range(60):
        report = tune(Landscape(flat, noise=0.05, seed=seed), budget=60.0)
        claims += report.best != report.start
        if report.best == report.start:
            assert not any(choice.before != choice.after for choice in report.choices)
    assert claims <= 1


def test_a_gain_that_noise_explains_is_taken_back() -> None:
    """Races that were decided by a disturbance are lost in the comparison at the end."""
    disturbing = True

    def disturbed(way: Way, phase: Phase) -> float:
        return flat(way, phase) * (0.5 if way.context.threads == 4 and disturbing else 1.0)

    chosen = []
    for event in events(Landscape(disturbed, noise=0.01), budget=300.0):
        if isinstance(event, Choice):
            chosen.append((event.name, event.after))
            disturbing = event.name != "cache-type"  # the last of them
    assert any(name == "threads" and value != 4 for name, value in chosen)
    assert isinstance(event, TuneReport)
    assert event.best == event.start
    assert event.generation is not None
    assert not event.generation.is_shown


def test_a_change_that_helps_one_phase_is_kept_when_the_other_has_none() -> None:
    def speeds(way: Way, phase: Phase) -> float:
        return flat(way, phase) * (1.4 if phase == "generation" and way.context.threads == 2 else 1.0)

    report = tune(Landscape(speeds))
    assert report.best.context.threads == 2
    assert report.prompt is None  # nothing that touches prompts was changed, so that nothing was compared
    shown(report.generation)


def test_the_budget_holds() -> None:
    for budget in (5.0, 20.0, 60.0):
        land = Landscape(peaked)
        report = tune(land, budget=budget)
        assert report.seconds <= budget * 1.1 + 4  # what was begun is finished


def test_a_short_budget_says_what_was_not_tried() -> None:
    report = tune(Landscape(lambda way, phase: peaked(way, phase) / 20), budget=30.0)
    notes = {choice.name: choice.note for choice in report.choices}
    assert "not tried: the budget is too short" in notes.values()


def test_what_is_not_possible_is_passed_over_with_its_reason() -> None:
    def speeds(way: Way, phase: Phase) -> float:
        if way.context.cache_type_v != "f16":
            raise ModelUnsupportedError("a quantized V cache needs flash attention")
        return flat(way, phase)

    report = tune(Landscape(speeds), cache_types=("f16", "q8_0"))
    choice = next(choice for choice in report.choices if choice.name == "cache-type")
    assert choice.after == "f16"
    assert choice.tried == ("f16",)
    assert choice.note == "q8_0: a quantized V cache needs flash attention"


def test_cache_types_are_tried_on_demand_only() -> None:
    quicker = Landscape(lambda way, phase: flat(way, phase) * (2.0 if way.context.cache_type_k == "q8_0" else 1.0))
    assert tune(quicker).best.context.cache_type_k == "f16"
    best = tune(replace(quicker, asked=[], now=0.0), cache_types=("f16", "q8_0")).best.context
    assert (best.cache_type_k, best.cache_type_v) == ("q8_0", "q8_0")


def test_gpu_layers_race_one_by_one() -> None:
    def speeds(way: Way, phase: Phase) -> float:
        layers = way.model.gpu_layers
        return flat(way, phase) * {None: 3.0, 15: 1.5, 0: 1.0}[layers]

    start = Way(model=ModelParams(gpu_layers=0), context=make_way().context)
    land = Landscape(speeds)
    report = tune(land, start, has_gpu=True)
    assert report.best.model.gpu_layers is None
    choice = report.choices[0]
    assert (choice.name, choice.before, choice.after) == ("gpu-layers", 0, "auto")
    shown(report.overall)


@pytest.mark.parametrize("after", [0, 1, 10, 60, 400])
def test_cancelling_tells_what_is_known(after: int) -> None:
    told = list(events(Landscape(peaked, cancel_after=after)))
    report = told[-1]
    assert isinstance(report, TuneReport)
    assert report.interrupted == (after < 400)
    decided = {choice.name: choice.after for choice in told if isinstance(choice, Choice)}
    assert {choice.name for choice in report.choices} == set(decided)
    if after == 60:
        assert decided["threads"] == 2


def test_values_worth_trying() -> None:
    by_name = {dimension.name: dimension for dimension in all_dimensions()}
    way = make_way()
    assert by_name["threads"].values(way) == (1, 2, 3, 4, 8)
    assert by_name["threads"].values(make_way(threads=6)) == (1, 2, 3, 4, 6, 8)
    assert by_name["ubatch-size"].values(way) == (64, 128, 256, 512)
    assert by_name["batch-size"].values(way) == (2048,)  # all of them hold the prompt
    assert "512 tokens" in (by_name["batch-size"].note(way) or "")
    longer = {dimension.name: dimension for dimension in dimensions(3000, logical_cpus=8, layers=31, has_gpu=False)}
    assert longer["batch-size"].values(way) == (512, 1024, 2048, 4096)
    assert longer["ubatch-size"].values(way) == (64, 128, 256, 512, 1024, 2048)
    assert longer["ubatch-size"].set(way, 4096).context.n_batch == 4096
    assert by_name["flash-attn"].values(way) == ("auto", "off")
    assert by_name["cache-type"].values(way) == ("f16",)


def test_threads_become_numbers() -> None:
    way = pinned(Way(model=ModelParams(), context=ContextParams(threads=3)))
    assert (way.context.threads, way.context.threads_batch) == (3, 3)
