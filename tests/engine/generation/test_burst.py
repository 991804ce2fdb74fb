"""Bursts: several steps in one call give what single steps give, and leave the cache as single steps would."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kv_cache import cached_positions

from llamacli.engine.chat.prompt import plain_prompt
from llamacli.engine.constraint.guidance import Constraint, Guidance
from llamacli.engine.events import Event, Finished, Token
from llamacli.engine.generation.batches import burst
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from llamacli.errors import ConstraintError, DecodeError

GREEDY = SamplingParams(temperature=0, ignore_eos=True)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model) as model:
        yield model


@pytest.fixture
def context(model: Model) -> Iterator[Context]:
    with Context(model, ContextParams(n_ctx=256, n_seq_max=3, threads=1)) as context:
        yield context


def request(model: Model, text: str, *, guidance: Guidance | None = None, **params: object) -> Request:
    sampling = params.pop("sampling", GREEDY)
    tokens = plain_prompt(model.vocabulary, text).tokens
    return Request(prompt=tokens, params=GenerationParams(sampling=sampling, **params), guidance=guidance)


def run(context: Context, requests: list[Request], longest: int, monkeypatch: pytest.MonkeyPatch) -> list[list[Event]]:
    """The events of each request, with bursts of at most `longest` steps."""
    monkeypatch.setattr(burst, "STEPS", longest)
    context.clear()
    scheduler = Scheduler(context)
    sequences = [scheduler.submit(request) for request in requests]
    events = list(scheduler.run())
    for slot in range(3):
        assert len(scheduler.slots.tokens_of(slot)) == cached_positions(
            context, slot
        )  # what the scheduler believes of the cache is so
    return [[event for event in events if event.sequence == sequence.id] for sequence in sequences]


def without_timings(events: list[Event]) -> list[object]:
    return [(e.reason, e.text, e.usage, e.stop_text) if isinstance(e, Finished) else e for e in events]


@pytest.mark.parametrize(
    "params",
    [
        {"max_tokens": 40},
        {"max_tokens": 1},
        {"max_tokens": 40, "sampling": SamplingParams(seed=7, ignore_eos=True)},
        {"max_tokens": 40, "sampling": SamplingParams(seed=7, temperature=1.5, repeat_penalty=1.3, top_k=0)},
        {"max_tokens": 40, "logprobs": 0},
        {"max_tokens": 40, "logprobs": 3},
        {"max_tokens": None},
    ],
    ids=str,
)
def test_the_length_of_bursts_changes_nothing(
    model: Model, context: Context, monkeypatch: pytest.MonkeyPatch, params: dict[str, object]
) -> None:
    requests = [request(model, text, **params) for text in ("one", "two " * 30, "three")]
    single = run(context, requests, 1, monkeypatch)
    assert all(isinstance(events[-1], Finished) for events in single)
    for longest in (2, 7, 32):
        bursts = run(context, requests, longest, monkeypatch)
        assert [without_timings(events) for events in bursts] == [without_timings(events) for events in single]


def test_a_stop_text_in_the_middle_of_a_burst(model: Model, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    (free,) = run(context, [request(model, "go", max_tokens=40)], 1, monkeypatch)
    text = "".join(event.text for event in free if isinstance(event, Token | Finished))
    stop = text[9:12]
    requests = [request(model, "go", max_tokens=40, stop=(stop,)), request(model, "beside it", max_tokens=30)]
    single = run(context, requests, 1, monkeypatch)
    bursts = run(context, requests, 32, monkeypatch)
    assert [without_timings(events) for events in bursts] == [without_timings(events) for events in single]
    end = bursts[0][-1]
    assert isinstance(end, Finished)
    assert end.stop_text == stop


@pytest.mark.parametrize("grammar", ['root ::= "yes" | "no"', "root ::= [a-z]{12}", 'root ::= "a"+ "b"'])
def test_a_grammar_ends_a_burst(model: Model, context: Context, monkeypatch: pytest.MonkeyPatch, grammar: str) -> None:
    guidance = Guidance(constraint=Constraint(grammar=grammar))
    requests = [request(model, "go", max_tokens=20, guidance=guidance), request(model, "free", max_tokens=20)]
    single = run(context, requests, 1, monkeypatch)
    bursts = run(context, requests, 32, monkeypatch)
    assert [without_timings(events) for events in bursts] == [without_timings(events) for events in single]
    assert [event.satisfied for events in bursts for event in events if isinstance(event, Finished)] == [
        event.satisfied for events in single for event in events if isinstance(event, Finished)
    ]


def test_a_burst_ends_when_its_time_is_up(model: Model) -> None:
    with Context(model, ContextParams(n_ctx=256, threads=1, burst_seconds=0.0)) as context:
        scheduler = Scheduler(context)
        scheduler.submit(request(model, "go", max_tokens=20))
        counts = [sum(isinstance(event, Token) for event in scheduler.step()) for _ in range(10)]
    assert counts == [1] * 10


def test_what_was_generated_before_a_cancel_is_kept(model: Model, context: Context) -> None:
    scheduler = Scheduler(context)
    scheduler.submit(request(model, "go", max_tokens=None))
    events = scheduler.step()
    timer = threading.Timer(0.02, model.cancel.set)
    timer.start()
    events += scheduler.run()
    timer.join()
    model.cancel.clear()
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason in ("cancelled", "context")  # a fast machine fills the context first
    assert end.usage.completion_tokens == sum(isinstance(event, Token) for event in events)
    assert scheduler.is_idle


def test_a_failed_choice_says_why(model: Model, context: Context) -> None:
    scheduler = Scheduler(context)
    sequence = scheduler.submit(request(model, "go", max_tokens=20))
    scheduler.step()
    with pytest.raises(ConstraintError, match="allows no token"):
        sequence.chosen(burst.Choice(-1, 0.0, 1, True))
    with pytest.raises(DecodeError, match="logits are not finite"):
        sequence.chosen(burst.Choice(-1, 0.0, 2, True))
