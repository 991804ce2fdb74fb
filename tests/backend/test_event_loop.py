"""An engine in a child from an event loop: answers in batches, callers that leave, and a child that ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from llamacli.backend.child.engine import ChildEngine, open_engine
from llamacli.backend.child.event_loop import LoopEngine
from llamacli.engine.chat.question import Question
from llamacli.engine.events import Answer, AnswerEvent
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import ClosedError, UsageError

HELLO = Question(text="Hello", raw=True)
GREEDY = GenerationParams(sampling=SamplingParams(temperature=0.0, ignore_eos=True), max_tokens=600)


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[ChildEngine]:
    with open_engine(tiny_model, ModelParams(), ContextParams(n_ctx=1024, n_seq_max=2, threads=1)) as engine:
        yield engine


async def collected(batches: AsyncGenerator[list[AnswerEvent], None]) -> list[AnswerEvent]:
    async with aclosing(batches):
        return [event async for batch in batches for event in batch]


def test_the_answer_is_the_one_that_a_thread_gets(engine: ChildEngine) -> None:
    async def main() -> list[AnswerEvent]:
        from_loop = LoopEngine(engine)
        return await collected(from_loop.answer(await from_loop.render(HELLO), GREEDY, samples=1))

    *pieces, answer = asyncio.run(main())
    *_, expected = engine.answer(engine.render(HELLO), GREEDY)
    assert isinstance(answer, Answer)
    assert isinstance(expected, Answer)
    assert answer.content == expected.content
    assert len(pieces) > 256  # more than may be computed ahead


def test_who_leaves_ends_the_answer(engine: ChildEngine) -> None:
    async def main() -> None:
        from_loop = LoopEngine(engine)
        turn = await from_loop.render(HELLO)
        async with aclosing(from_loop.answer(turn, GREEDY, samples=1)) as batches:
            await anext(batches)
        assert engine.child._pending == {}
        task = asyncio.ensure_future(collected(from_loop.answer(turn, GREEDY, samples=1)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.child._pending == {}

    asyncio.run(main())


def test_a_prompt_that_fills_the_connection_is_sent_beside_the_loop(engine: ChildEngine) -> None:
    async def main() -> None:
        from_loop, long = LoopEngine(engine), Question(text="Hello " * 20000, raw=True)
        assert (await from_loop.render(long)).prompt.text == long.text
        task = asyncio.ensure_future(from_loop.render(long))
        await asyncio.sleep(0)
        task.cancel()  # while a thread sends it
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await from_loop.render(HELLO)).prompt.text == "Hello"

    asyncio.run(main())


def test_errors_are_those_of_the_engine(tiny_model: Path) -> None:
    async def main() -> None:
        with open_engine(tiny_model, ModelParams(), ContextParams(threads=1)) as engine:
            from_loop = LoopEngine(engine)
            with pytest.raises(UsageError):
                await from_loop.render(Question(text="\ud800", raw=True))
            turn = await from_loop.render(HELLO)
            answer = from_loop.answer(turn, GREEDY, samples=1)
            await anext(answer)
            await asyncio.to_thread(engine.close)
            with pytest.raises(ClosedError):
                await collected(answer)
            with pytest.raises(ClosedError):
                await from_loop.render(HELLO)

    asyncio.run(main())
