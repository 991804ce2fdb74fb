"""`llamacli bench tune`: the search on known landscapes with known noise, and the command on a tiny model."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fakes import Result, invoke
from in_process import open_bench_in_process

from llamacli.bench.measure.setup import Phase, Setup, TrialSize
from llamacli.bench.measure.trial import Trials
from llamacli.bench.tune import quantizations as tuning_types
from llamacli.bench.tune import search as tuning
from llamacli.bench.tune import session as tuning_session
from llamacli.bench.tune.dimensions import Dimension, dimensions, pinned
from llamacli.bench.tune.params import Gain, RaceRound, SettingChoice, TuneEvent, TunePlan, TuneReport
from llamacli.bench.tune.profile import profile_of
from llamacli.bench.tune.quantizations import CANDIDATES, compare_quantizations, model_speeds
from llamacli.bench.tune.search import Tuner
from llamacli.bench.tune.type_speeds import TypeReport, TypeRequest
from llamacli.cli.bench.tune import flag_of
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.errors import CancelledError, EngineDiedError, ModelUnsupportedError
from llamacli.gguf.analysis.cost import ModelCost, Product
from llamacli.render.bench.tune import format_event, format_flags

N_PROMPT, N_GEN = 512, 64


def make_setup(**context: object) -> Setup:
    return Setup(model=ModelParams(), context=ContextParams(**{"threads": 4, "threads_batch": 4, **context}))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamacli.bench.tune.dimensions.default_threads", lambda: 4)


def all_dimensions(**changes: object) -> list[Dimension]:
    return dimensions(N_PROMPT, **{"logical_cpus": 8, "layers": 31, "has_gpu": False, **changes})  # type: ignore[arg-type]


@dataclass
class Landscape:
    """Speeds by settings, noise (the deviation of the logarithm), and a clock that advances with each measurement."""

    speeds: Callable[[Setup, Phase], float]
    noise: float = 0.02
    seed: int = 0
    cancel_after: int | None = None
    now: float = 0.0
    asked: list[tuple[Setup, Phase]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def measure(self, setup: Setup, phase: Phase) -> float:
        if self.cancel_after is not None and len(self.asked) >= self.cancel_after:
            raise CancelledError("cancelled")
        self.asked.append((setup, phase))
        speed = self.speeds(setup, phase) * self.random.lognormvariate(0, self.noise)
        self.now += (N_PROMPT if phase == "prompt" else N_GEN) / speed
        return speed

    def clock(self) -> float:
        return self.now


def flat(_way: Setup, phase: Phase) -> float:
    return 1000.0 if phase == "prompt" else 100.0


THREADS: Mapping[int, float] = {1: 0.4, 2: 1.5, 3: 1.0, 4: 0.9, 8: 0.2}


def peaked(setup: Setup, phase: Phase) -> float:
    """Generation is best with 2 threads, prompts with 3 and a micro-batch of 128; flash attention helps both."""
    context = setup.context
    speed = flat(setup, phase) * (1.2 if context.flash_attention == "on" else 1.0)
    if phase == "generation":
        return speed * THREADS[context.threads or 4]
    return speed * {3: 1.25}.get(context.threads_batch or 4, 1.0) * {128: 1.3, 64: 0.8}.get(context.n_ubatch, 1.0)


def tune(land: Landscape, start: Setup | None = None, budget: float = 120.0, **changes: object) -> TuneReport:
    *_, last = events(land, start, budget, **changes)
    assert isinstance(last, TuneReport)
    return last


def events(land: Landscape, start: Setup | None = None, budget: float = 120.0, **changes: object) -> Iterator[TuneEvent]:
    plan = TunePlan(budget=budget, n_prompt=N_PROMPT, n_gen=N_GEN, seed=land.seed)
    return Tuner(start or make_setup(flash_attention="off"), all_dimensions(**changes), land.measure, plan, land.clock).run()


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


def test_no_false_gain_is_claimed() -> None:
    claims = 0
    for seed in range(60):
        report = tune(Landscape(flat, noise=0.05, seed=seed), budget=60.0)
        claims += report.best != report.start
        if report.best == report.start:
            assert not any(choice.before != choice.after for choice in report.choices)
    assert claims <= 1


def test_a_gain_explained_by_noise_is_reverted() -> None:
    """Races decided by a disturbance are lost in the final comparison."""
    disturbing = True

    def disturbed(setup: Setup, phase: Phase) -> float:
        return flat(setup, phase) * (0.5 if setup.context.threads == 4 and disturbing else 1.0)

    chosen = []
    for event in events(Landscape(disturbed, noise=0.01), budget=300.0):
        if isinstance(event, SettingChoice):
            chosen.append((event.name, event.after))
            disturbing = event.name != "cache-type"  # the last of them
    assert any(name == "threads" and value != 4 for name, value in chosen)
    assert isinstance(event, TuneReport)
    assert event.best == event.start
    assert "won its race, but not the comparison" in (event.choices[0].note or "")
    assert event.generation is not None
    assert not event.generation.is_shown


def test_a_death_in_the_comparison_costs_only_what_it_had_to_confirm() -> None:
    is_fatal = False

    def speeds(setup: Setup, phase: Phase) -> float:
        if is_fatal and setup.context.threads != 4:
            raise EngineDiedError("the engine died (SIGABRT)")
        return peaked(setup, phase)

    for event in events(Landscape(speeds)):
        is_fatal |= isinstance(event, SettingChoice) and event.name == "cache-type"  # the last of them
    assert isinstance(event, TuneReport)
    assert (event.best, event.interrupted) == (event.start, False)
    assert {choice.name for choice in event.choices} >= {"threads", "ubatch-size", "cache-type"}


def test_a_change_that_helps_one_phase_is_kept() -> None:
    def speeds(setup: Setup, phase: Phase) -> float:
        return flat(setup, phase) * (1.4 if phase == "generation" and setup.context.threads == 2 else 1.0)

    report = tune(Landscape(speeds))
    assert report.best.context.threads == 2
    assert report.prompt is None  # no change affects prompts, so that nothing was compared
    shown(report.generation)


def test_the_budget_is_kept() -> None:
    for budget in (5.0, 20.0, 60.0):
        land = Landscape(peaked)
        report = tune(land, budget=budget)
        assert report.seconds <= budget * 1.1 + 4  # started measurements are finished


def test_a_race_is_announced_with_its_setting_and_values() -> None:
    land = Landscape(peaked)
    first = next(iter(events(land)))
    assert (first, len(land.asked)) == (RaceRound("threads", 1, (4, 1, 2, 3, 8)), 4)
    assert format_event(first) == "threads, round 1: 4, 1, 2, 3, 8"


def test_a_short_budget_says_what_was_not_tried() -> None:
    report = tune(Landscape(lambda setup, phase: peaked(setup, phase) / 20), budget=30.0)
    notes = {choice.name: choice.note for choice in report.choices}
    assert "not tried: the budget is too short" in notes.values()


def test_impossible_values_are_skipped_with_a_reason() -> None:
    def speeds(setup: Setup, phase: Phase) -> float:
        if setup.context.cache_type_v != "f16":
            raise ModelUnsupportedError("a quantized V cache needs flash attention")
        return flat(setup, phase)

    report = tune(Landscape(speeds), cache_types=("f16", "q8_0"))
    choice = next(choice for choice in report.choices if choice.name == "cache-type")
    assert choice.after == "f16"
    assert choice.tried == ("f16",)
    assert choice.note == "q8_0: a quantized V cache needs flash attention"


def test_cache_types_are_tried_only_on_request() -> None:
    quicker = Landscape(lambda setup, phase: flat(setup, phase) * (2.0 if setup.context.cache_type_k == "q8_0" else 1.0))
    assert tune(quicker).best.context.cache_type_k == "f16"
    best = tune(replace(quicker, asked=[], now=0.0), cache_types=("f16", "q8_0")).best.context
    assert (best.cache_type_k, best.cache_type_v) == ("q8_0", "q8_0")


def test_gpu_layers_race_one_by_one() -> None:
    def speeds(setup: Setup, phase: Phase) -> float:
        layers = setup.model.gpu_layers
        return flat(setup, phase) * {None: 3.0, 15: 1.5, 0: 1.0}[layers]

    start = Setup(model=ModelParams(gpu_layers=0), context=make_setup().context)
    land = Landscape(speeds)
    report = tune(land, start, has_gpu=True)
    assert report.best.model.gpu_layers is None
    choice = report.choices[0]
    assert (choice.name, choice.before, choice.after) == ("gpu-layers", 0, "auto")
    shown(report.overall)


@pytest.mark.parametrize("after", [0, 1, 10, 60, 400])
def test_cancelling_reports_the_results_so_far(after: int) -> None:
    seen = list(events(Landscape(peaked, cancel_after=after)))
    report = seen[-1]
    assert isinstance(report, TuneReport)
    assert report.interrupted == (after < 400)
    decided = {choice.name: choice.after for choice in seen if isinstance(choice, SettingChoice)}
    assert {choice.name for choice in report.choices} == set(decided)
    if after == 60:
        assert decided["threads"] == 2


def test_values_worth_trying() -> None:
    by_name = {dimension.name: dimension for dimension in all_dimensions()}
    setup = make_setup()
    assert by_name["threads"].values(setup) == (1, 2, 3, 4, 8)
    assert by_name["threads"].values(make_setup(threads=6)) == (1, 2, 3, 4, 6, 8)
    assert by_name["ubatch-size"].values(setup) == (64, 128, 256, 512)
    assert by_name["batch-size"].values(setup) == (2048,)  # all of them hold the prompt
    assert "512 tokens" in (by_name["batch-size"].note or "")
    longer = {dimension.name: dimension for dimension in dimensions(3000, logical_cpus=8, layers=31, has_gpu=False)}
    assert longer["batch-size"].values(setup) == (512, 1024, 2048, 4096)
    assert longer["ubatch-size"].values(setup) == (64, 128, 256, 512, 1024, 2048)
    assert longer["ubatch-size"].set(setup, 4096).context.n_batch == 4096
    assert by_name["flash-attn"].values(setup) == ("auto", "off")
    assert by_name["cache-type"].values(setup) == ("f16",)


def test_threads_become_explicit() -> None:
    setup = pinned(Setup(model=ModelParams(), context=ContextParams(threads=3)))
    assert (setup.context.threads, setup.context.threads_batch) == (3, 3)


# --- trials ------------------------------------------------------------------------------------------------------------------


def test_trials_bound_the_number_of_contexts(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setups = [make_setup(threads=1, threads_batch=1, n_ubatch=size) for size in (64, 128, 256)]
    with Trials(tiny_model, TrialSize(n_prompt=32, n_gen=4, depth=8), CancelFlag()) as trials:
        for setup in setups:
            assert trials.seconds(setup, "prompt") > 0
            assert trials.seconds(setup, "generation") > 0
        assert len(trials._prepared) == 6
        monkeypatch.setattr("llamacli.bench.measure.trial.available_memory", lambda: -1)
        trials.seconds(make_setup(threads=1, threads_batch=1, n_ubatch=32), "prompt")
        assert len(trials._prepared) == 1
        trials.resize(TrialSize(n_prompt=16, n_gen=2))
        assert trials.size.tokens("prompt") == 16
        assert trials.seconds(setups[0], "prompt") > 0
    trials.close()


def test_a_cancelled_trial_raises(tiny_model: Path) -> None:
    flag = CancelFlag()
    with Trials(tiny_model, TrialSize(n_prompt=8, n_gen=2), flag) as trials:
        trials.seconds(make_setup(threads=1), "prompt")
        flag.set()
        with pytest.raises(CancelledError):
            trials.seconds(make_setup(threads=1), "prompt")


# --- other quantizations -----------------------------------------------------------------------------------------------------


def test_only_the_products_become_faster() -> None:
    """A token takes 10 ms, 8 of them in products: with those four times as fast it takes 2 + 2 ms."""
    assert model_speeds(100.0, [8e-3], [2e-3]) == [pytest.approx(250.0)]
    assert model_speeds(100.0, [8e-3], [8e-3]) == [pytest.approx(100.0)]
    # If by noise the products alone take longer than the whole model did, they count as all of it.
    assert model_speeds(100.0, [20e-3], [5e-3]) == [pytest.approx(400.0)]


@pytest.fixture
def milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of few matrices for a short time, and one core: more threads than cores would be slow."""
    monkeypatch.setattr("llamacli.bench.tune.dimensions.default_threads", lambda: 1)
    monkeypatch.setattr(tuning_session, "logical_cpus", lambda: 1)
    monkeypatch.setattr(tuning_types, "_PASS_SECONDS", 1e-4)
    monkeypatch.setattr(tuning_types, "_LEAST_BYTES", 1 << 20)
    monkeypatch.setattr(tuning_types, "_CACHE_MULTIPLE", 0)
    monkeypatch.setattr(tuning_types, "_PROMPT_OPERATIONS", 1e7)
    monkeypatch.setattr(tuning_session, "_LEAST_TYPES_SECONDS", 0.01)
    monkeypatch.setattr(tuning, "ENOUGH_PAIRS", 3)
    monkeypatch.setattr(tuning, "MOST_PAIRS", 4)


def compared(cost: ModelCost, **changes: Any) -> TypeReport:
    question = TypeRequest(
        cost=cost,
        speeds={"prompt": 1000.0, "generation": 100.0},
        device="CPU",
        threads={"prompt": 1, "generation": 1},
        n_prompt=512,
        n_gen=64,
    )
    *_, report = compare_quantizations(question, CancelFlag(), seconds=0.01, **changes)
    assert isinstance(report, TypeReport)
    return report


@pytest.mark.usefixtures("milliseconds")
def test_types_are_compared_with_the_file() -> None:
    row = 512 // 32 * 20
    cost = ModelCost((Product("Q4_1", 512, 512, 4, row), Product("Q8_0", 512, 1000, 1, 544, is_output=True)), 100, (), 0)
    report = compared(cost)
    assert (report.own.type, report.own.bits) == ("Q4_1", 5.0)
    assert report.own.size == 4 * 512 * row + 544 * 1000 + 100
    assert report.own.speeds["prompt"] == pytest.approx(1000.0, rel=0.5)
    assert [one.type for one in report.others] == list(CANDIDATES)
    sizes = {one.type: one.size - report.own.size for one in report.others}
    assert sizes["Q8_0"] == 4 * 512 * 512 * 3.5 / 8
    assert sizes["Q4_0"] == -4 * 512 * 512 * 0.5 / 8
    assert not any(one.bits < 4 for one in report.better)


@pytest.mark.usefixtures("milliseconds")
def test_types_impossible_for_the_shapes_are_left_out() -> None:
    cost = ModelCost((Product("Q4_0", 96, 64, 2, 54),), 0, (), 0)
    report = compared(cost)
    assert [one.type for one in report.others] == ["IQ4_NL", "Q8_0"]  # blocks of 256 elements do not divide 96


@pytest.mark.usefixtures("milliseconds")
def test_mixtures_are_compared_and_routers_stay_in_f32() -> None:
    experts = Product("Q4_1", 64, 32, 3, 40, experts=16, used=2)
    router = Product("F32", 64, 16, 3, 256)
    report = compared(ModelCost((experts, router), 0, (), 0), types=("Q8_0",))
    assert (report.own.type, report.own.bits) == ("Q4_1", 5.0)
    whole = 40 * 32 * 3 * 16 + 256 * 16 * 3
    assert report.own.size == whole
    assert report.others[0].size == whole + 64 * 32 * 3 * 16 * 3.5 / 8


@pytest.mark.usefixtures("milliseconds")
def test_types_that_would_fill_the_memory_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = ModelCost((Product("Q4_1", 1024, 1024, 4, 1024 // 32 * 20),), 0, (), 0)
    monkeypatch.setattr(tuning_types, "available_memory", lambda: 4 * 900_000)
    report = compared(cost, types=("Q4_0", "Q8_0"))
    assert [one.type for one in report.others] == ["Q4_0"]  # 0.6 MB, and 1.1 MB in Q8_0


# --- the command -------------------------------------------------------------------------------------------------------------

QUICK = ("-p", "64", "-n", "8", "--budget", "1.5", "--no-quantizations")


def run_tune(model: Path, *arguments: str, **how: Any) -> Result:
    return invoke("bench", "tune", "-m", str(model), *QUICK, *arguments, open_bench=open_bench_in_process, **how)


@pytest.mark.usefixtures("milliseconds")
def test_the_command(tiny_model: Path) -> None:
    result = invoke(
        "bench",
        "tune",
        "-m",
        str(tiny_model),
        "-p",
        "64",
        "-n",
        "8",
        "--budget",
        "1.5",
        "-t",
        "1",
        open_bench=open_bench_in_process,
    )
    assert result.status == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "tiny.gguf: prompts of 64 and answers of 8 tokens"
    names = [line.split()[0] for line in lines[2 : lines.index("")] if not line.startswith(" ")]
    assert names == ["threads", "threads-batch", "ubatch-size", "batch-size", "flash-attn", "cache-type"]
    assert "other types lower the quality and are tried only on request (see --cache-types)" in " ".join(result.stdout.split())
    assert all(len(line) < 80 for line in lines if "llamacli models" not in line)
    assert "F32 (the file)" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.usefixtures("milliseconds")
def test_a_profile_is_added_to_the_file_and_used(tiny_model: Path, isolated_home: Path) -> None:
    file = isolated_home / ".config/llamacli/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('# mine\n[defaults]\ntemp = 0 # greedy\n\n[profiles."a b"]\n# old\nthreads = 2\nseed = 3\n')
    result = run_tune(tiny_model, "-t", "1", "-ub", "128", "-ctk", "f32", "--save-profile", "a b")
    assert result.status == 0, result.stderr
    assert "use it with --profile 'a b'" in result.stderr
    text = file.read_text()
    assert text.startswith("# mine\n[defaults]\ntemp = 0 # greedy\n")
    assert "# old\n" in text
    profile = tomllib.loads(text)["profiles"]["a b"]
    assert profile["seed"] == 3
    assert profile["cache-type-k"] == "f32"
    run = invoke("run", "--profile", "a b", "-n", "2", "Hello", find_model=lambda *_, **__: tiny_model)
    assert run.engine.context.threads == profile["threads"]
    assert run.engine.context.threads_batch == profile["threads-batch"]
    assert run.engine.context.n_ubatch == profile.get("ubatch-size", 512)
    assert run.engine.context.cache_type_k == "f32"
    assert invoke("config", "check").status == 0


@pytest.mark.usefixtures("milliseconds")
def test_settings_can_be_saved_for_the_model(tiny_model: Path) -> None:
    result = run_tune(tiny_model, "-t", "1", "--save-for-model")
    assert result.status == 0, result.stderr
    assert "saved for the model tiny.gguf" in result.stderr
    used = invoke("run", "-m", str(tiny_model), "Hello").engine.context
    shown = json.loads(invoke("config", "show", "-m", str(tiny_model), "--json").stdout)
    assert used.threads is not None
    assert "tiny.gguf" in json.dumps(shown)
    assert invoke("run", "-m", "other.gguf", "Hello").engine.context.threads is None


@pytest.mark.usefixtures("milliseconds")
def test_repetitions_shorter_than_the_job_are_reported(tiny_model: Path) -> None:
    command = (
        "bench",
        "tune",
        "-m",
        str(tiny_model),
        "-p",
        "64",
        "-n",
        "512",
        "-t",
        "1",
        "--budget",
        "0.02",
        "--no-quantizations",
    )
    lines = invoke(*command, open_bench=open_bench_in_process).stdout.splitlines()
    assert "answers of 512 tokens" not in lines[0]
    assert "Measured in this size instead of prompts of 64 and answers of 512 tokens" in " ".join(lines[1:4])
    assert "(see --budget)" in " ".join(lines[1:4])
    document = json.loads(invoke(*command, "--json", open_bench=open_bench_in_process).stdout)
    assert document["tokens"]["generation"] < 512
    assert document["job_tokens"] == {"prompt": 64, "generation": 512, "depth": 0}


@pytest.mark.usefixtures("milliseconds")
def test_the_document(tiny_model: Path) -> None:
    result = invoke(
        "bench",
        "tune",
        "-m",
        str(tiny_model),
        "-p",
        "64",
        "-n",
        "8",
        "--budget",
        "1.5",
        "-t",
        "1",
        "--json",
        open_bench=open_bench_in_process,
    )
    document = json.loads(result.stdout)
    assert document["tokens"] == document["job_tokens"] == {"prompt": 64, "generation": 8, "depth": 0}
    assert not document["interrupted"]
    settings = {one["name"]: one for one in document["settings"]}
    assert settings["threads"]["before"] == 1
    assert document["best"]["threads"] == settings["threads"]["after"]
    assert document["speeds"]["prompt"] > 0
    assert document["types"]["own"]["type"] == "F32"
    assert set(document["gains"]) == {"prompt", "generation", "overall"}


def test_interrupted_before_any_result(tiny_model: Path) -> None:
    report = tune(Landscape(peaked, cancel_after=0))
    assert report.interrupted
    assert report.choices == ()


@pytest.mark.usefixtures("milliseconds")
def test_interrupted_shows_the_results_and_saves_nothing(
    tiny_model: Path, isolated_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = itertools.count(1)
    real = Trials.seconds

    def seconds(trials: Trials, setup: Setup, phase: Phase) -> float:
        if next(count) == 12:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
        return real(trials, setup, phase)

    monkeypatch.setattr(Trials, "seconds", seconds)
    result = invoke(
        "bench",
        "tune",
        "-m",
        str(tiny_model),
        "-t",
        "1",
        "--budget",
        "600",
        "--save-profile",
        "fast",
        open_bench=open_bench_in_process,
    )
    assert result.status == 130
    assert "tiny.gguf: prompts of 512 and answers of 64 tokens" in result.stdout
    assert "Interrupted" in result.stdout
    assert not (isolated_home / ".config/llamacli/config.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0"], "--budget must be above 0, and at most 86400 seconds"),
        (["--cache-types", "q9"], "is not a comma-separated list of"),
        (["-n", "0"], "-p and -n must be at least 1"),
        (["--save-profile", "a\tb"], "--save-profile needs a name"),
    ],
)
def test_wrong_options(tiny_model: Path, arguments: list[str], message: str) -> None:
    result = run_tune(tiny_model, *arguments)
    assert result.status == 2
    assert message in result.stderr


def test_changed_settings_become_flags() -> None:
    start = make_setup()
    best = replace(start, context=replace(start.context, threads=2, n_ubatch=128, cache_type_k="q8_0"))
    report = TuneReport(
        start=start,
        best=best,
        choices=(SettingChoice(name="flash-attn", before="auto", after="auto", tried=("auto", "off")),),
        prompt=None,
        generation=None,
        overall=None,
        seconds=1.0,
        interrupted=False,
    )
    assert format_flags(report, flag_of) == ["-t", "2", "-ub", "128", "-ctk", "q8_0"]
    assert profile_of(report) == {
        "threads": 2, "threads-batch": 4, "ubatch-size": 128, "flash-attn": "auto", "cache-type-k": "q8_0",
    }  # fmt: skip
