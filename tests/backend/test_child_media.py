"""Pictures in a child: sent once, encoded there, and sent again to the child that takes its place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Iterable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import invoke
from projector_mutants import mutant
from tiny_vision import COLOURS, Seeing, VisionModel

from llamacli.backend.child import contract, media
from llamacli.backend.child.engine import ChildEngine, open_engine
from llamacli.backend.child.event_loop import LoopEngine
from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.child import Child
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.question import Question
from llamacli.engine.events import Answer, AnswerEvent
from llamacli.engine.generation.job import Job
from llamacli.engine.media.media import Media, new_image
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import EngineDiedError, LlamacliError, UsageError

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


def answer_of(events: Iterable[AnswerEvent]) -> Answer:
    (answer,) = [event for event in events if isinstance(event, Answer)]
    return answer


def colour_of(engine: ChildEngine, image: Media, text: str = "What colour?") -> str:
    turn = engine.chat_turn([Message("user", (image, text))])
    return answer_of(engine.answer(turn, GREEDY)).content


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
        assert answer_of(engine.answer(turn, GREEDY)).content == "green"
    assert sent == [picture("green").id] * 2


def test_prompts_on_disk_know_the_picture(seeing: Seeing, tmp_path: Path) -> None:
    files = seeing("idefics3", 3)
    model = tmp_path / "exact.gguf"
    names = (str(files.model), str(model))
    result = invoke("models", "quantize", "--pure", *names, "Q8_0", find_model=lambda *_, **__: files.model)
    assert result.status == 0, result.stderr
    text = " ".join(f"world {number} the weather" for number in range(40))

    def asked(image: Media, *, prompt_cache: bool = True) -> Answer:
        child = ChildParams(prompt_cache=prompt_cache)
        params = ModelParams(mmproj=str(files.projector))
        with open_engine(model, params, ContextParams(n_ctx=2048, threads=1), child=child) as engine:
            turn = engine.chat_turn([Message("user", (image, text))])
            return answer_of(engine.answer(turn, GREEDY))

    first, second = (new_image(64, 64, random.Random(seed).randbytes(3 * 64 * 64)) for seed in (1, 2))
    known = asked(first)
    again = asked(first)
    assert (known.usage.cached_tokens, again.usage.cached_tokens) == (0, known.usage.prompt_tokens - 1)
    assert again.content == known.content
    other = asked(second)
    assert other.usage.cached_tokens == 0
    assert other.content == asked(second, prompt_cache=False).content


def test_an_event_loop_sends_pictures(seeing: Seeing, sent: list[str]) -> None:
    async def colours(engine: ChildEngine) -> list[str]:
        loop, found = LoopEngine(engine), []
        for number, colour in enumerate(COLOURS):
            question = Question(text="What?", media=(picture(colour),))
            most = 1000 if number % 2 else 0  # in one call, or rendered first
            asking = loop.ask(question, GREEDY, samples=1, check=lambda _: None, most=most)
            async with aclosing(asking) as batches:
                async for batch in batches:
                    found += [event.content for event in batch if isinstance(event, Answer)]
        return found

    with opened(seeing("qwen2vl")) as engine:
        assert asyncio.run(colours(engine)) == list(COLOURS)
    assert sent == [picture(colour).id for colour in COLOURS]


def test_no_projector_ends_this_process(seeing: Seeing, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Mutants are refused, or end the child at worst, which is an error like any other. The fuzzer tries a thousand."""
    path = tmp_path / "mmproj-mutant.gguf"
    params = ModelParams(mmproj=str(path))
    for number in range(max(8, pytestconfig.getoption("--fuzz-cases") // 500)):
        kind, data, done = mutant(random.Random(f"projector {number}"))
        path.write_bytes(data)
        with (
            contextlib.suppress(LlamacliError),
            open_engine(seeing(kind).model, params, ContextParams(threads=1)) as engine,
        ):
            assert engine.describe().takes in (("image",), ("audio",)), done
            colour_of(engine, picture("red"))


def test_a_model_without_a_projector_says_so(seeing: Seeing) -> None:
    messages = [Message("user", (picture("red"), "What colour?"))]
    with (
        open_engine(seeing("qwen2vl").model, ModelParams(), ContextParams()) as engine,
        pytest.raises(UsageError, match="this model takes no images"),
    ):
        engine.chat_turn(messages)
