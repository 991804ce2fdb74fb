"""Pictures in a child: sent once, encoded there, and sent again to the child that takes its place."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tiny_vision import COLOURS, Seeing, VisionModel

from llamacli.backend.child import contract, media
from llamacli.backend.child.engine import ChildEngine, open_engine
from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process import Child
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.question import Question
from llamacli.engine.events import Answer
from llamacli.engine.generation.job import Job
from llamacli.engine.media.media import Media, new_image
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import EngineDiedError, UsageError

GREEDY = GenerationParams(max_tokens=4, sampling=SamplingParams(temperature=0.0))
PIXELS = {"red": b"\xff\0\0", "green": b"\0\xff\0", "blue": b"\0\0\xff"}


def picture(colour: str, side: int = 40) -> Media:
    return new_image(side, side, PIXELS[colour] * (side * side))


@contextmanager
def opened(files: VisionModel) -> Iterator[ChildEngine]:
    child = ChildParams(sandbox="auto")
    with open_engine(files.model, ModelParams(mmproj=str(files.projector)), ContextParams(threads=1), child=child) as engine:
        yield engine


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that go to a child, by their ids."""
    ids: list[str] = []
    call = Child.call

    def noted(self: Child, method: Any, arguments: Any = None, **options: Any) -> Any:
        if method is contract.PUT_MEDIA:
            ids.append(arguments.id)
        return call(self, method, arguments, **options)

    monkeypatch.setattr(Child, "call", noted)
    return ids


def colour_of(engine: ChildEngine, image: Media, text: str = "What colour?") -> str:
    turn = engine.chat_turn([Message("user", (image, text))])
    (answer,) = [event for event in engine.answer(turn, GREEDY) if isinstance(event, Answer)]
    return answer.content


def test_a_picture_is_sent_once(seeing: Seeing, sent: list[str]) -> None:
    with opened(seeing("qwen2vl")) as engine:
        assert engine.describe().takes == ("image",)
        assert [colour_of(engine, picture(colour)) for colour in COLOURS] == list(COLOURS)
        assert colour_of(engine, picture("red"), "And this?") == "red"
        turn = engine.render(Question(text="Hm?", media=(picture("blue"),)))
        assert turn.prompt.media[0][1].data == picture("blue").data
    assert sent == [picture(colour).id for colour in COLOURS]


def test_rows_with_pictures(seeing: Seeing, sent: list[str]) -> None:
    with opened(seeing("idefics3")) as engine:
        turns = [engine.render(Question(text="What?", media=(picture(COLOURS[number % 3]),))) for number in range(7)]
        jobs = [Job(number=number, turn=turn, params=GREEDY) for number, turn in enumerate(turns)]
        found = {one.index: one.content for one in engine.answer_many(iter(jobs), parallel=3) if isinstance(one, Answer)}
    assert [found[number] for number in range(7)] == [COLOURS[number % 3] for number in range(7)]
    assert len(sent) == 3


def test_large_pictures_wait_for_each_other(seeing: Seeing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MOST_IN_FLIGHT", 3 * 40 * 40)
    with opened(seeing("qwen2vl")) as engine:
        turns = [engine.render(Question(text="What?", media=(picture(colour),))) for colour in COLOURS]
        jobs = [Job(number=number, turn=turn, params=GREEDY) for number, turn in enumerate(turns)]
        found = {one.index: one.content for one in engine.answer_many(iter(jobs), parallel=3) if isinstance(one, Answer)}
    assert [found[number] for number in range(3)] == list(COLOURS)


def test_the_next_child_gets_the_picture_again(seeing: Seeing, sent: list[str]) -> None:
    with opened(seeing("qwen2vl")) as engine:
        turn = engine.chat_turn([Message("user", (picture("green"), "What colour?"))])
        assert colour_of(engine, picture("green")) == "green"
        os.kill(engine.pid, signal.SIGSEGV)
        with pytest.raises(EngineDiedError):
            list(engine.answer(turn, GREEDY))
        engine.revive()
        assert [event.content for event in engine.answer(turn, GREEDY) if isinstance(event, Answer)] == ["green"]
    assert sent == [picture("green").id] * 2


def test_a_model_without_a_projector_says_so(seeing: Seeing) -> None:
    messages = [Message("user", (picture("red"), "What colour?"))]
    with (
        open_engine(seeing("qwen2vl").model, ModelParams(), ContextParams()) as engine,
        pytest.raises(UsageError, match="this model takes no images"),
    ):
        engine.chat_turn(messages)
