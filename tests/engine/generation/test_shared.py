"""One scheduler, many threads."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamacli.engine.events import Answer, Event, Failed, Finished, Token
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.generation.shared import SharedScheduler
from llamacli.engine.generation.ticket import Ticket
from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams
from llamacli.engine.runtime.canceller import Canceller
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.gate import Gate
from llamacli.engine.runtime.model import Model
from llamacli.errors import CancelledError, ClosedError, UsageError

GREEDY = SamplingParams(temperature=0, ignore_eos=True)


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model) as model:
        yield model


@pytest.fixture
def shared(model: Model) -> Iterator[SharedScheduler]:
    with Context(model, ContextParams(n_ctx=128, n_seq_max=4, threads=1)) as context:
        yield SharedScheduler(Scheduler(context), model.cancel)


def request(model: Model, text: str, max_tokens: int | None = 8) -> Request:
    return Request(
        prompt=tuple(model.vocabulary.tokenize(text)), params=GenerationParams(max_tokens=max_tokens, sampling=GREEDY)
    )


def events_of(shared: SharedScheduler, wanted: Request, cancel: Canceller | None = None) -> Iterator[Event]:
    """The events of one request; its error is raised."""
    for _, event in shared.stream(iter([(0, wanted)]), cancel):
        if isinstance(event, Failed):
            raise event.error
        yield event


def step(shared: SharedScheduler) -> None:
    assert shared._acquire()
    with shared._turn():
        shared._take_in()
        shared._distribute(shared.scheduler.step())


def step_until_ready(shared: SharedScheduler, ticket: Ticket) -> None:
    while not ticket.is_ready:
        step(shared)


def tokens(shared: SharedScheduler, wanted: Request) -> list[int]:
    return [event.id for event in events_of(shared, wanted) if isinstance(event, Token)]


def test_many_threads_get_what_each_gets_alone(model: Model, shared: SharedScheduler) -> None:
    texts = [f"prompt number {i} " * (1 + i % 5) for i in range(16)]
    alone = {text: tokens(shared, request(model, text)) for text in texts}
    wrong: list[str] = []

    def work(seed: int) -> None:
        order = random.Random(seed)
        for _ in range(20):
            text = order.choice(texts)
            if tokens(shared, request(model, text)) != alone[text]:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    assert shared.scheduler.is_idle


def test_threads_that_die_half_way_hold_nobody_up(model: Model, shared: SharedScheduler) -> None:
    def dies() -> None:
        events = events_of(shared, request(model, "one that is given up", 10**6))
        for _ in range(3):
            next(events)
        events.close()

    expected = tokens(shared, request(model, "one that stays", 20))
    threads = [threading.Thread(target=dies) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert tokens(shared, request(model, "one that stays", 20)) == expected
    for thread in threads:
        thread.join(30)
    assert shared.scheduler.is_idle


def test_one_that_leaves_during_a_step_is_gone_after_it(model: Model, shared: SharedScheduler) -> None:
    alone, other = (shared.submit(request(model, text, 10**6)) for text in ("alone", "other"))
    step_until_ready(shared, alone)
    with shared._stepping:
        shared.leave(other)
        shared.leave(alone)
        waiting = shared.submit(request(model, "nobody took it in yet"))
        shared.leave(waiting)
        assert not shared.scheduler.is_idle
    shared._acquire()
    shared._release()
    assert shared.scheduler.is_idle
    assert shared.is_idle


def test_one_that_leaves_late_cuts_short_nobody_else(model: Model) -> None:
    """Its caller was the only one when it left, but the step that it wanted to end was over."""
    with Context(model, ContextParams(n_ctx=128, n_seq_max=1, threads=1)) as context:
        shared = SharedScheduler(Scheduler(context), model.cancel)
        left = shared.submit(request(model, "one that is given up", 10**6))
        step_until_ready(shared, left)
        with shared._stepping:
            shared.leave(left)
        assert model.cancel.is_set
        assert not shared.is_cancelled
        assert len(tokens(shared, request(model, "next"))) == 8
        assert not model.cancel.is_set


def test_a_slow_reader_holds_nobody_up(model: Model, shared: SharedScheduler) -> None:
    slow = events_of(shared, request(model, "slow", 50))
    next(slow)
    assert len(tokens(shared, request(model, "fast", 20))) == 20
    assert sum(isinstance(event, Token) for event in slow) == 50


def test_an_error_of_one_request_is_its_own(model: Model, shared: SharedScheduler) -> None:
    with pytest.raises(UsageError):
        list(events_of(shared, Request(prompt=(), params=GenerationParams())))
    assert len(tokens(shared, request(model, "fine"))) == 8


def failing(cached: list[int], logits: object) -> None:
    raise ZeroDivisionError("of its own")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"processor": failing}, ZeroDivisionError),
        ({"params": GenerationParams(max_tokens=5, stop=(5,))}, TypeError),  # type: ignore[arg-type]
        ({"params": GenerationParams(max_tokens=5.5, sampling=GREEDY)}, TypeError),  # type: ignore[arg-type]
    ],
)
def test_whatever_fails_in_one_request_is_its_own(
    model: Model, shared: SharedScheduler, wrong: dict[str, Any], error: type[Exception]
) -> None:
    expected = tokens(shared, request(model, "fine"))
    fine, other = shared.submit(request(model, "fine")), shared.submit(request(model, "fine"))
    bad = events_of(shared, dataclasses.replace(request(model, "bad"), **wrong))
    late = shared.submit(request(model, "fine"))
    with pytest.raises(error):
        list(bad)
    for ticket in (fine, other, late):
        while not any(isinstance(event, Finished) for event in ticket.events):
            assert ticket.error is None
            step(shared)
        assert [event.id for event in ticket.events if isinstance(event, Token)] == expected
    assert shared.is_idle


def test_an_interrupt_while_requests_are_taken_in_loses_none(
    model: Model, shared: SharedScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shared.submit(request(model, "first")), shared.submit(request(model, "second"))
    submit = shared.scheduler.submit

    def interrupted(wanted: Request) -> object:
        if wanted is second.request:
            raise KeyboardInterrupt
        return submit(wanted)

    monkeypatch.setattr(shared.scheduler, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        step_until_ready(shared, first)
    assert isinstance(first.error, CancelledError)
    assert isinstance(second.error, CancelledError)
    assert shared.is_idle
    assert shared.scheduler.is_idle


def test_several_requests_tell_what_comes_as_it_comes(model: Model, shared: SharedScheduler) -> None:
    events = shared.stream(iter([(i, request(model, f"number {i}")) for i in range(12)]))
    next(event for _, event in events if isinstance(event, Token))
    assert len(shared.scheduler._waiting) == 8  # four run, and nothing waits for the others
    ends = [place for place, event in events if isinstance(event, Finished)]
    assert sorted(ends) == list(range(12))


def test_a_canceller_ends_a_call_from_another_thread(model: Model, shared: SharedScheduler) -> None:
    cancel, endless = Canceller(), GenerationParams(sampling=GREEDY, context_shift=True)
    events = events_of(shared, dataclasses.replace(request(model, "endless"), params=endless), cancel)
    next(events)
    threading.Timer(0.05, cancel.set).start()
    with pytest.raises(CancelledError):
        list(events)
    assert shared.scheduler.is_idle
    assert not model.cancel.is_set
    with pytest.raises(CancelledError):
        list(events_of(shared, request(model, "too late"), cancel))


@pytest.mark.parametrize("what", ["answer", "close"])
def test_what_a_request_calls_back_cannot_hang(tiny_model: Path, what: str) -> None:
    from llamacli.engine.engine import Engine

    engine = Engine(tiny_model, context=ContextParams(n_ctx=128, threads=1))
    turn = engine.text_turn("Hello")

    def called_back(cached: list[int], logits: object) -> None:
        if what == "close":
            engine.close()
        else:
            list(engine.answer(turn, GenerationParams(max_tokens=1)))

    with pytest.raises(UsageError if what == "answer" else ClosedError):
        list(engine.answer(turn, GenerationParams(max_tokens=4, sampling=GREEDY), processor=called_back))
    assert engine.model.gate.is_closed == (what == "close")
    engine.close()
    with pytest.raises(ClosedError):
        list(engine.answer(turn))


def test_closing_waits_for_a_context_that_is_made(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llamacli.engine.engine import Engine
    from llamacli.engine.generation import contexts as module

    engine = Engine(tiny_model)
    turn, making, go_on = engine.text_turn("Hello"), threading.Event(), threading.Event()
    real = module.Context

    def slow(*arguments: Any) -> Context:
        making.set()
        go_on.wait(30)
        return real(*arguments)

    monkeypatch.setattr(module, "Context", slow)
    errors: list[BaseException] = []

    def generate() -> None:
        try:
            list(engine.answer(turn))
        except ClosedError as error:
            errors.append(error)

    threads = [threading.Thread(target=generate), threading.Thread(target=lambda: making.wait(30) and engine.close())]
    for thread in threads:
        thread.start()
    making.wait(30)
    assert not engine.model.gate.is_closed
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(errors) == 1
    assert engine.model.gate.is_closed


def test_a_gate_waits_for_those_inside_and_frees_once() -> None:
    gate, inside, go_on, freed = Gate("it"), threading.Event(), threading.Event(), []

    def stay() -> None:
        with gate:
            inside.set()
            go_on.wait(30)
            assert freed == []

    threads = [threading.Thread(target=stay), threading.Thread(target=lambda: gate.close(lambda: freed.append(1)))]
    threads[0].start()
    inside.wait(30)
    threads[1].start()
    while not gate.is_closed:
        time.sleep(0.001)
    with pytest.raises(ClosedError, match="it is closed"), gate:
        pass
    go_on.set()
    for thread in threads:
        thread.join(30)
    gate.close(lambda: freed.append(2))
    assert freed == [1]


def test_who_is_inside_a_gate_may_close_it() -> None:
    gate, freed = Gate("it"), []
    with gate:
        gate.close(lambda: freed.append(1))
        assert freed == []
    assert freed == [1]


def test_close_raises_in_those_who_generate(model: Model, shared: SharedScheduler) -> None:
    outcomes: list[BaseException | str] = []
    begun = threading.Barrier(5)

    def work() -> None:
        events = events_of(
            shared,
            Request(
                prompt=tuple(model.vocabulary.tokenize("for ever")),
                params=GenerationParams(sampling=GREEDY, context_shift=True),
            ),
        )
        next(events)
        begun.wait(30)
        try:
            for _ in events:
                pass
            outcomes.append("ended")
        except ClosedError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait(30)
    time.sleep(0.05)
    shared.close()
    for thread in threads:
        thread.join(30)
    assert [type(outcome) for outcome in outcomes] == [ClosedError] * 4
    with pytest.raises(ClosedError):
        next(events_of(shared, request(model, "too late")))
    assert not model.cancel.is_set


def test_cancelling_ends_what_runs_and_nothing_later(model: Model, shared: SharedScheduler) -> None:
    events = events_of(shared, request(model, "long", 10**6))
    next(events)
    model.cancel.set()
    last = list(events)[-1]
    assert isinstance(last, Finished)
    assert last.reason == "cancelled"
    assert len(tokens(shared, request(model, "next"))) == 8
    model.cancel.set()  # while nothing runs
    assert len(tokens(shared, request(model, "and next"))) == 8


def test_a_cancel_before_the_first_step_is_obeyed(model: Model, shared: SharedScheduler) -> None:
    ticket = shared.submit(request(model, "long", 10**6))
    model.cancel.set()
    step_until_ready(shared, ticket)
    event = ticket.events.popleft()
    assert isinstance(event, Finished)
    assert event.reason == "cancelled"
    assert len(tokens(shared, request(model, "next"))) == 8


def test_a_cancel_while_the_context_is_made_is_obeyed(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llamacli.engine.engine import Engine

    with Engine(tiny_model) as engine:
        turn, grow = engine.text_turn("Hello"), engine.contexts._grow
        monkeypatch.setattr(engine.contexts, "_grow", lambda size: (engine.cancel(), grow(size))[1])
        (event,) = engine.answer(turn, GenerationParams(sampling=GREEDY))
        assert isinstance(event, Answer)
        assert event.finish_reason == "cancelled"
