"""Perplexity and divergence: the windows, the arithmetic, the files, and the evaluation of a tiny model."""

from __future__ import annotations

import math
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_bert

from llamacli.bench.measure.setup import Setup
from llamacli.bench.quality.estimates import Resamples
from llamacli.bench.quality.evaluator import plan_batches, steps_of
from llamacli.bench.quality.logits_file import LogitsWriter, read_logits_file
from llamacli.bench.quality.params import Candidate, CandidateFailed, QualityPlan, QualityRequest, TextRead, WindowScored
from llamacli.bench.quality.result import Collector, QualityResult
from llamacli.bench.quality.run import judge
from llamacli.bench.quality.scores import ReferenceLogits, log_softmax, score
from llamacli.bench.quality.text import shipped_text
from llamacli.bench.quality.windows import Window, cut_windows
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from llamacli.errors import CancelledError, DecodeError, LlamacliError, ModelUnsupportedError, UsageError

TEXT = ("The harbour was quiet when the first boats came home. " * 8).encode()


def candidate(path: Path, **context) -> Candidate:
    return Candidate(path=str(path), setup=Setup(model=ModelParams(), context=ContextParams(threads=1, **context)))


def request(*candidates: Candidate, text: bytes = TEXT, **more) -> QualityRequest:
    plan = QualityPlan(**{"n_ctx": 32, **more.pop("plan", {})})
    return QualityRequest(candidates=candidates, text=text, plan=plan, **more)


def results(asked: QualityRequest) -> list[QualityResult]:
    collector = Collector(asked.candidates)
    for event in judge(asked, CancelFlag()):
        collector.add(event)
    return collector.results()


# --- windows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, [Window((0, 1, 2, 3), 2), Window((4, 5, 6, 7), 2)]),
        ({"most": 1}, [Window((0, 1, 2, 3), 2)]),
        ({"bos": 99}, [Window((99, 1, 2, 3), 2), Window((99, 5, 6, 7), 2)]),
        ({"stride": 2}, [Window((0, 1, 2, 3), 1), Window((2, 3, 4, 5), 1), Window((4, 5, 6, 7), 1), Window((6, 7, 8, 9), 1)]),
        ({"stride": 3, "most": 2}, [Window((0, 1, 2, 3), 0), Window((3, 4, 5, 6), 0)]),
    ],
)
def test_a_text_is_cut_into_windows(how, expected):
    assert cut_windows(range(10), 4, **how) == expected


def test_judged_tokens_are_those_of_the_second_half():
    assert cut_windows(range(512), 512)[0].targets == tuple(range(257, 512))


def test_a_text_shorter_than_a_window_is_refused():
    with pytest.raises(UsageError, match="too short: it has 3 tokens, and a window has 4"):
        cut_windows(range(3), 4)


@pytest.mark.parametrize(("n_ctx", "n_batch"), [(8, 64), (8, 8), (8, 3), (8, 17)])
def test_batches_have_every_token_once_and_outputs_for_the_judged_ones(n_ctx, n_batch):
    windows = cut_windows(range(40), n_ctx)[:2]
    plan = plan_batches(n_ctx, windows[0].judged, n_batch, 100)
    for group in (windows[:1], windows) if plan.side_by_side > 1 else (windows[:1],):
        steps = list(steps_of(group, plan))
        assert all(len(step.tokens) <= max(n_batch, 1) and sum(step.outputs) <= plan.outputs for step in steps)
        for number, window in enumerate(group):
            seen = [
                (position, token)
                for step in steps
                for token, position, sequence in zip(step.tokens, step.positions, step.sequences, strict=True)
                if sequence == number
            ]
            assert seen == list(enumerate(window.tokens))
            assert [token for step in steps for one, tokens in step.rows if one == number for token in tokens] == list(
                window.targets
            )


def test_logits_of_a_large_vocabulary_are_fetched_in_parts():
    plan = plan_batches(4096, 2047, 4096, 256_000)
    assert plan.side_by_side == 1
    assert plan.outputs * 256_000 * 4 <= 256 << 20


# --- arithmetic ---------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_double_precision():
    generator = np.random.default_rng(1)
    ours, theirs = (generator.normal(0, 4, (40, 3000)).astype(np.float32) for _ in range(2))
    targets = generator.integers(0, 3000, 40).tolist()
    with ThreadPoolExecutor(2) as pool:
        found = score(ours, targets, ReferenceLogits(theirs), pool)
    for row in range(40):
        p, q = (np.exp(x[row].astype(float)) / np.exp(x[row].astype(float)).sum() for x in (theirs, ours))
        counts = np.log(p) > -16
        assert found.losses[row] == pytest.approx(-math.log(q[targets[row]]), rel=1e-5)
        assert found.reference_losses[row] == pytest.approx(-math.log(p[targets[row]]), rel=1e-5)
        assert found.divergences[row] == pytest.approx((p * np.log(p / q))[counts].sum(), rel=1e-5)
        assert found.agrees[row] == (p.argmax() == q.argmax())


def test_forbidden_tokens_do_not_spoil_a_divergence():
    ours = np.array([[0.0, 1.0, -np.inf]], np.float32)
    with ThreadPoolExecutor(1) as pool:
        found = score(ours, [1], ReferenceLogits(ours.copy()), pool)
    assert found.divergences[0] == 0


def test_estimates_of_equal_windows_have_no_width():
    resamples = Resamples(8)
    found = resamples.mean([3.0] * 8, [2] * 8)
    assert (found.value, found.low, found.high) == (1.5, 1.5, 1.5)
    assert Resamples(1).mean([3.0], [2]).low is None


def test_the_interval_of_a_mean_covers_it_about_as_often_as_it_says():
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        found = Resamples(16).mean(generator.normal(5, 2, 16).tolist(), [1] * 16)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 5 <= found.high
    assert 180 <= covered <= 199


def test_quantiles_are_those_of_all_tokens():
    values = [np.arange(10, dtype=np.float32) + 10 * number for number in range(5)]
    half, largest = Resamples(5).quantiles(values, (0.5, 1.0))
    assert half.value == np.quantile(np.concatenate(values), 0.5)
    assert half.low is not None
    assert half.high is not None
    assert half.low < half.value < half.high
    assert (largest.value, largest.low) == (49, None)


# --- files of log probabilities -----------------------------------------------------------------------------------------


def test_a_file_gives_back_what_was_written(tmp_path):
    generator = np.random.default_rng(5)
    logits = generator.normal(0, 5, (2, 3, 7)).astype(np.float32)
    path = tmp_path / "base.kld"
    with path.open("wb") as file, ThreadPoolExecutor(2) as pool:
        writer = LogitsWriter(file, 8, 7, [1, 2, 3, 4] * 4)
        for window in logits:
            writer.add(window, pool)
    found = read_logits_file(path)
    assert (found.n_ctx, found.n_vocab, found.windows, found.tokens) == (8, 7, 2, (1, 2, 3, 4) * 4)
    for number, window in enumerate(logits):
        wanted = log_softmax(window)
        stored = found.reference(number).log_probabilities(0, 3)
        likely = wanted > wanted.max(axis=1, keepdims=True) - 16
        assert np.abs(stored - wanted)[likely].max() < 16 / 65535


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-2], "not whole"),
        (lambda data: data + b"x", "not whole"),
        (lambda data: data[:8] + struct.pack("<i", -4) + data[12:], "corrupt"),
        (lambda data: data[:16] + struct.pack("<i", 1 << 30) + data[20:], "corrupt"),
        (lambda data: data[:20] + struct.pack("<i", 7) + data[24:], "outside its vocabulary"),
        (lambda data: b"GGUF" + data[4:], "neither a model nor"),
        (lambda data: data[:12], "neither a model nor"),
    ],
)
def test_damaged_files_are_refused(tmp_path, change, message):
    path = tmp_path / "base.kld"
    with path.open("wb") as file, ThreadPoolExecutor(1) as pool:
        LogitsWriter(file, 8, 7, [1] * 8).add(np.zeros((3, 7), np.float32), pool)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UsageError, match=message):
        read_logits_file(path)


# --- evaluation ---------------------------------------------------------------------------------------------------------


def one_by_one(path: Path, window: Window) -> list[float]:
    """The negative log probabilities of a window, one token at a time, in double precision."""
    losses = []
    with Model(path) as model, Context(model, ContextParams(n_ctx=len(window.tokens), threads=1)) as context:
        for position, token in enumerate(window.tokens[:-1]):
            context.decode([token], [position], [0], [1])
            row = np.asarray(context.logits(0), np.float64)
            losses.append(float(np.log(np.exp(row - row.max()).sum()) + row.max() - row[window.tokens[position + 1]]))
    return losses[window.first :]


@pytest.mark.parametrize("n_batch", [2048, 32, 20])
def test_losses_are_those_of_single_tokens(tiny_model, n_batch):
    events = list(judge(request(candidate(tiny_model, n_batch=n_batch), plan={"windows": 3}), CancelFlag()))
    with Model(tiny_model) as model:
        vocabulary = model.vocabulary
        tokens = vocabulary.tokenize(TEXT, add_special=True)
        windows = cut_windows(tokens, 32, bos=vocabulary.bos if vocabulary.add_bos else None)
    scored = [event for event in events if isinstance(event, WindowScored)]
    assert [event.window for event in scored] == [0, 1, 2]
    for event, window in zip(scored, windows, strict=False):
        assert np.frombuffer(event.losses, np.float32) == pytest.approx(one_by_one(tiny_model, window), rel=1e-3)


def test_a_model_does_not_diverge_from_itself(tiny_model):
    one = candidate(tiny_model)
    (found,) = results(request(one, reference=one))
    assert found.divergence is not None
    assert found.perplexity is not None
    assert abs(found.divergence.mean.value) < 1e-6
    assert found.divergence.same_top.value == 1
    assert found.divergence.reference.value == found.perplexity.value
    assert found.divergence.rms_change.value == 0


def test_a_stored_reference_gives_what_a_live_one_does(tiny_model, tmp_path):
    stored = tmp_path / "base.kld"
    (plain,) = results(request(candidate(tiny_model), save_logits=str(stored)))
    coarse = candidate(tiny.tiny_model(tmp_path / "other.gguf", seed=1))
    (live,) = results(request(coarse, reference=candidate(tiny_model)))
    (from_file,) = results(request(coarse, reference_logits=str(stored)))
    (no_text,) = results(request(coarse, text=b"", reference_logits=str(stored)))
    assert live.divergence is not None
    assert from_file.divergence is not None
    assert plain.perplexity is not None
    assert live.divergence.mean.value > 1e-5
    assert from_file.divergence.mean.value == pytest.approx(live.divergence.mean.value, rel=0.02, abs=1e-6)
    assert from_file.divergence.same_top == live.divergence.same_top
    assert 1 < from_file.divergence.reference.value < plain.perplexity.value  # the file keeps nothing below 16 nats
    assert no_text.losses == from_file.losses


def test_candidates_share_windows_and_one_that_fails_does_not_stop_the_others(tiny_model, tmp_path):
    other = tiny.tiny_model(tmp_path / "other.gguf", seed=1)
    wrong = tiny.tiny_model(tmp_path / "wrong.gguf", vocabulary=tiny.default_vocabulary(tiny.MERGES[:-1]))
    asked = request(candidate(tiny_model), candidate(wrong), candidate(other))
    first, failed, third = results(asked)
    assert first.windows == third.windows > 3
    assert first.losses != third.losses
    assert failed.windows == 0
    assert "another vocabulary than the reference" in str(failed.error)


def test_equal_vocabularies_that_cut_differently_are_other_vocabularies(tiny_model, tmp_path):
    swapped = (*tiny.MERGES[1:], tiny.MERGES[0])
    other = tiny.tiny_model(tmp_path / "swapped.gguf", vocabulary=tiny.default_vocabulary(swapped))
    _, failed = results(request(candidate(tiny_model), candidate(other)))
    assert "cuts the text differently" in str(failed.error)


def test_the_budget_ends_the_windows(tiny_model):
    (found,) = results(request(candidate(tiny_model, n_batch=32), plan={"budget": 1e-9}))
    assert found.windows == 1


def test_encoders_are_refused(tmp_path):
    encoder = tiny_bert.tiny_bert(tmp_path / "bert.gguf")
    with pytest.raises(ModelUnsupportedError, match="does not continue text"):
        results(request(candidate(encoder)))


def test_a_model_with_weights_that_are_not_numbers_fails(tmp_path):
    broken = tiny.tiny_model(tmp_path / "broken.gguf")
    broken.write_bytes(broken.read_bytes()[:-4] + struct.pack("<f", math.nan))
    asked = request(candidate(broken))
    failures = [event.error for event in judge(asked, CancelFlag()) if isinstance(event, CandidateFailed)]
    assert [type(error) for error in failures] == [DecodeError]


def test_a_stored_reference_of_another_text_is_refused(tiny_model, tmp_path):
    stored = tmp_path / "base.kld"
    results(request(candidate(tiny_model), save_logits=str(stored)))
    with pytest.raises(UsageError, match="of another text"):
        results(request(candidate(tiny_model), text=TEXT[::-1], reference_logits=str(stored)))
    with pytest.raises(UsageError, match="windows of another size"):
        results(request(candidate(tiny_model), plan={"n_ctx": 16}, reference_logits=str(stored)))


def test_a_cancelled_evaluation_keeps_its_windows(tiny_model):
    flag, seen = CancelFlag(), 0

    def evaluate() -> None:
        nonlocal seen
        for event in judge(request(candidate(tiny_model, n_batch=32)), flag):
            if isinstance(event, WindowScored):
                seen += 1
                flag.set()

    with pytest.raises(CancelledError):
        evaluate()
    assert seen == 1


def test_equal_texts_have_equal_hashes(tiny_model):
    hashes = set()
    for text in (TEXT, TEXT, TEXT + b"x" * 99):
        events = judge(request(candidate(tiny_model), text=text, plan={"windows": 2}), CancelFlag())
        hashes |= {event.sha256 for event in events if isinstance(event, TextRead)}
    assert len(hashes) == 1


def test_the_shipped_text_is_what_its_description_says():
    text = shipped_text()
    words = text.data.decode()
    assert 200_000 < len(text.data) < 250_000
    for sample in ("la dignité", "la libertad", "достоинства", "自由", "الإنسان", "def ", "static_cast<"):
        assert sample in words


@pytest.mark.parametrize("wrong", [{"n_ctx": 3}, {"stride": 0}, {"stride": 32}, {"windows": 0}, {"budget": 0}])
def test_impossible_plans_are_refused(wrong):
    with pytest.raises(LlamacliError):
        replace(QualityPlan(n_ctx=32), **wrong)
