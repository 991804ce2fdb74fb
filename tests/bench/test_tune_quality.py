"""`bench tune --quality`: what is judged, what stays inside a bound, and the file that is made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from fakes import Result, invoke
from in_process import open_bench_in_process

from llamacli.backend.child.params import ChildParams
from llamacli.bench.child.process import BenchProcess
from llamacli.bench.compare.compare import compare_rounds
from llamacli.bench.measure.setup import Setup, TrialSize
from llamacli.bench.quality.estimates import Estimate
from llamacli.bench.tune import session, weigh
from llamacli.bench.tune.params import SettingChoice, TuneReport
from llamacli.bench.tune.session import TuneOutcome
from llamacli.bench.tune.type_speeds import TypeReport, TypeSpeed
from llamacli.bench.tune.weigh import (
    Loss,
    QualityBound,
    WeighedType,
    changes_results,
    weigh_settings,
    weigh_types,
    without_lossy_settings,
)
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import UsageError
from llamacli.gguf.model import read_files

START = Setup(model=ModelParams(), context=ContextParams(threads=1))
COARSE = replace(START, context=replace(START.context, cache_type_k="bf16", cache_type_v="bf16", n_ubatch=256))


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_model(tmp_path_factory.mktemp("wide") / "f32.gguf", width=256, feed_forward=512)


def speed(name: str, prompt: float, generation: float) -> TypeSpeed:
    same = compare_rounds([1.0, 1.1, 1.0], [1.0, 1.1, 1.0])
    return TypeSpeed(
        type=name, size=1000, bits=8.0, speeds={"prompt": prompt, "generation": generation},
        outcomes={"prompt": same, "generation": same}, is_repacked=False,
    )  # fmt: skip


TYPES = TypeReport(
    own=speed("F32", 100, 10),
    others=(speed("Q8_0", 150, 20), speed("Q4_K", 300, 40), speed("Q6_K", 101, 10.1), speed("Q4_0", 290, 39)),
    better=(),
)


def report(best: Setup = COARSE) -> TuneReport:
    choices = (
        SettingChoice(name="cache-type", before="f16", after="bf16", tried=("f16", "bf16")),
        SettingChoice(name="ubatch-size", before=512, after=256, tried=(512, 256)),
    )
    return TuneReport(
        start=START, best=best, choices=choices, prompt=None, generation=None, overall=None, seconds=1.0, interrupted=False
    )  # fmt: skip


def open_process(*paths: Path) -> BenchProcess:
    return open_bench_in_process(paths, Canceller())


def weighed(path: Path, folder: Path, bound: float) -> list[WeighedType]:
    limit = QualityBound(perplexity=bound)
    events = weigh_types(open_process, path, START, TYPES, limit, folder, ChildParams())
    return [event for event in events if isinstance(event, WeighedType)]


def test_the_fastest_quantization_inside_the_bound_is_the_last_that_is_judged(wide_model, tmp_path):
    found = weighed(wide_model, tmp_path, 10)
    assert [(one.speed.type, one.loss is not None and one.loss.is_inside) for one in found] == [("Q4_K", True)]
    assert "Q4_K" in {tensor.type.name for tensor in read_files(tmp_path / "Q4_K.gguf").tensors}


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change costs 5 % of perplexity: that of random weights may as well become better."""

    def loss(_: object, what: str, *__: object) -> Loss:
        return Loss(what=what, perplexity=Estimate(0.05, 0.04, 0.06), divergence=Estimate(0.1), is_inside=False)

    monkeypatch.setattr(weigh, "_loss", loss)


@pytest.mark.usefixtures("costly")
def test_a_bound_that_nothing_keeps_is_said_after_the_fastest_few(wide_model, tmp_path):
    found = weighed(wide_model, tmp_path, 0.01)
    assert [one.speed.type for one in found] == ["Q4_K", "Q4_0", "Q8_0"]  # Q6_K is hardly faster than the file
    assert not any(one.loss is None or one.loss.is_inside for one in found)


def test_a_quantization_that_cannot_be_made_does_not_stop_the_others(tiny_model, tmp_path):
    (tmp_path / "Q4_K.gguf").write_text("in the way")
    found = weighed(tiny_model, tmp_path, 10)
    assert "exists already" in str(found[0].error)
    assert found[1].loss is not None


def test_settings_that_cost_too_much_are_taken_back(wide_model):
    tuned = report()
    assert changes_results(tuned)
    assert not changes_results(report(replace(COARSE, context=replace(START.context, n_ubatch=256))))
    with open_process(wide_model) as process:
        loss = weigh_settings(process, wide_model, tuned, QualityBound(perplexity=0.5))
    assert loss.is_inside
    restored = without_lossy_settings(tuned, loss)
    assert (restored.best.context.cache_type_k, restored.best.context.n_ubatch) == ("f16", 256)
    assert [(one.name, one.after) for one in restored.choices] == [("cache-type", "f16"), ("ubatch-size", 256)]
    assert "of perplexity" in str(restored.choices[0].note)


def test_both_bounds_count():
    small, large = Estimate(0.004, 0.003, 0.005), Estimate(0.02, 0.01, 0.03)
    assert QualityBound(perplexity=0.01).holds(small, large)
    assert not QualityBound(perplexity=0.01).holds(large, small)
    assert not QualityBound(perplexity=0.01, divergence=0.02).holds(small, large)
    assert QualityBound(perplexity=0.01, divergence=0.04).holds(small, large)


@pytest.mark.parametrize("bound", [0, -1, float("nan"), 11])
def test_impossible_bounds_are_refused(bound):
    with pytest.raises(UsageError):
        QualityBound(perplexity=bound)


# --- the command --------------------------------------------------------------------------------------------------------


def tune(model: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> Result:
    """Run the command with a search that has found COARSE and TYPES."""
    size = TrialSize(n_prompt=64, n_gen=8)
    outcome = TuneOutcome(
        model=model.name, job=size, size=size, report=report(), speeds={"prompt": 100, "generation": 10}, types=TYPES,
        warnings=(), seconds=1.0,
    )  # fmt: skip

    def found(*_: object) -> Iterator[TuneOutcome]:
        yield outcome

    monkeypatch.setattr(session, "tune_model", found)
    words = ("bench", "tune", "-m", str(model), "--quality", *map(str, arguments))
    return invoke(*words, open_bench=open_bench_in_process)


def test_the_file_is_made_on_request(wide_model, tmp_path, monkeypatch):
    made = tmp_path / "fast.gguf"
    result = tune(wide_model, monkeypatch, "--max-ppl-increase", "1000%", "--make", made)
    assert result.status == 0, result.stderr
    assert "Proposed: Q4_K" in result.stdout
    assert "The settings: perplexity" in result.stdout
    assert read_files(made).tensors
    assert [path.name for path in tmp_path.iterdir()] == ["fast.gguf"]
    again = tune(wide_model, monkeypatch, "--make", made)
    assert (again.status, "exists already" in again.stderr) == (2, True)


@pytest.mark.usefixtures("costly")
def test_the_document_has_what_was_weighed(wide_model, monkeypatch):
    document = json.loads(tune(wide_model, monkeypatch, "--max-ppl-increase", "1", "--json").stdout)
    found = document["quality"]
    assert (found["chosen"], found["file"]) == (None, None)
    assert [one["type"] for one in found["types"]] == ["Q4_K", "Q4_0", "Q8_0"]
    assert found["settings"]["is_inside"] is False
    assert document["best"].get("cache-type-k", "f16") == "f16"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-ppl-increase", "1"), "need --quality"),
        (("--make", "x"), "need --quality"),
        (("--quality", "--max-kld", "0"), "--max-kld must be above 0"),
        (("--quality", "--max-ppl-increase", "0"), "above 0"),
    ],
)
def test_mistakes_are_usage_errors(wide_model, arguments, message):
    result = invoke("bench", "tune", "-m", str(wide_model), *arguments, open_bench=open_bench_in_process)
    assert (result.status, message in result.stderr) == (2, True)
