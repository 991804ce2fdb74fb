"""The Python API from several threads: calls that share a context take turns, and closing waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamacli import Llama
from llamacli.engine.runtime.context import Context
from llamacli.errors import ClosedError

A_MOMENT = 0.2
"""Seconds in which a thread that is not held up gets to where it is going."""


class Inside:
    """Tells how many threads are inside `Context.decode` at once, and does something in the first of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: Callable[[], object]) -> None:
        self.now, self.most, self.calls = 0, 0, 0
        lock, decode = threading.Lock(), Context.decode

        def watched(context: Context, *arguments: Any) -> None:
            with lock:
                self.now, self.calls = self.now + 1, self.calls + 1
                self.most = max(self.most, self.now)
                is_first = self.calls == 1
            try:
                if is_first:
                    first()
                decode(context, *arguments)
            finally:
                with lock:
                    self.now -= 1

        monkeypatch.setattr(Context, "decode", watched)


def outcome(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """A thread, not yet begun, for a call, and where its result or exception will be."""
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(call())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            outcomes.append(error)

    return threading.Thread(target=run, daemon=True), outcomes


def test_vectors_for_several_threads(tiny_embedding_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Llama(tiny_embedding_model, embedding=True, n_threads=1) as llm:
        expected = [llm.embed("one text"), llm.embed("another text")]
        other, found = outcome(lambda: llm.embed("another text"))

        def begin_the_other() -> None:
            other.start()
            other.join(A_MOMENT)

        inside = Inside(monkeypatch, begin_the_other)
        assert llm.embed("one text") == pytest.approx(expected[0], abs=1e-5)
        other.join(30)
        assert found == [pytest.approx(expected[1], abs=1e-5)]
        assert (inside.calls, inside.most) == (2, 1)


def test_closing_waits_for_vectors_that_are_being_made(tiny_embedding_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = Llama(tiny_embedding_model, embedding=True, n_threads=1)
    llm.embed("one text")
    closer = threading.Thread(target=llm.close)

    def begin_to_close() -> None:
        closer.start()
        closer.join(A_MOMENT)
        assert closer.is_alive()

    Inside(monkeypatch, begin_to_close)
    maker, found = outcome(lambda: llm.embed("one text"))
    maker.start()
    maker.join(30)
    closer.join(30)
    assert len(found) == 1
    assert isinstance(found[0], ClosedError | list)
    with pytest.raises(ClosedError):
        llm.embed("one text")


def test_many_texts_from_several_threads(tiny_embedding_model: Path) -> None:
    texts = [f"text number {number} " * (1 + number % 9) for number in range(200)]
    with Llama(tiny_embedding_model, embedding=True, n_threads=2) as llm:
        expected = llm.embed(texts)
        pairs = [outcome(lambda: llm.embed(texts)) for _ in range(4)]
        for thread, _ in pairs:
            thread.start()
        for thread, found in pairs:
            thread.join(60)
            assert len(found) == 1
            for vector, same in zip(found[0], expected, strict=True):  # type: ignore[call-overload]
                assert vector == pytest.approx(same, abs=1e-3)


def test_evaluation_by_hand_takes_turns(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Llama(tiny_model, n_ctx=256, n_threads=1) as llm:
        llm.eval([1])
        other, found = outcome(lambda: next(llm.generate([77, 78], temp=0, reset=False)))

        def begin_the_other() -> None:
            other.start()
            other.join(A_MOMENT)

        inside = Inside(monkeypatch, begin_the_other)
        llm.eval([79, 80, 81])
        other.join(30)
        assert isinstance(found[0], int)
        assert (inside.calls, inside.most, llm.n_tokens) == (2, 1, 6)


def test_closing_ends_an_evaluation_by_hand(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = Llama(tiny_model, n_ctx=256, n_threads=1)
    llm.eval([1])
    generator = llm.generate([1], temp=0, grammar='root ::= "a"+')
    next(generator)
    closer = threading.Thread(target=llm.close)

    def begin_to_close() -> None:
        closer.start()
        closer.join(A_MOMENT)
        assert closer.is_alive()

    Inside(monkeypatch, begin_to_close)
    with pytest.raises(ClosedError):
        llm.eval([77] * 100)
    closer.join(30)
    assert not closer.is_alive()
    for call in (llm.logits, llm.sample, llm.save_state, llm.reset, lambda: generator.send([77])):
        with pytest.raises(ClosedError):
            call()


def test_a_callable_may_close(tiny_model: Path) -> None:
    llm = Llama(tiny_model, n_ctx=256, n_threads=1)
    llm.eval([77])
    kept = []

    def closes(tokens: list[int], scores: object) -> None:
        kept.append(scores)
        llm.close()

    with pytest.raises(ClosedError):
        llm.sample(logits_processor=closes)
    assert float(kept[0].sum()) != 0  # type: ignore[attr-defined]


def test_what_others_cancel_does_not_end_an_evaluation_by_hand(tiny_model: Path) -> None:
    with Llama(tiny_model, n_ctx=256, n_threads=1) as llm:
        llm.engine.cancel()
        llm.eval([77, 78])
        assert llm.n_tokens == 2


@pytest.mark.parametrize("method", ["embed", "eval"])
def test_closing_in_the_middle_of_a_call(method: str, tiny_embedding_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a signal's handler does, which runs on the thread that it interrupts."""
    llm = Llama(tiny_embedding_model, embedding=True, n_threads=1)
    call = {"embed": lambda: llm.embed("one text"), "eval": lambda: llm.eval([77])}[method]
    call()
    Inside(monkeypatch, llm.close)
    thread, found = outcome(call)
    thread.start()
    thread.join(30)
    assert [type(each) for each in found] == [ClosedError]
