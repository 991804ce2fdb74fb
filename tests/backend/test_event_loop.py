"""An engine in a child from an event loop: answers in batches, callers that leave, and a child that ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from llamacli.backend.child.contract import params_of
from llamacli.backend.child.engine import ChildEngine, open_engine
from llamacli.backend.child.event_loop import LoopEngine
from llamacli.backend.child.process.loop_call import LoopReceiver
from llamacli.backend.child.wire.codec import ProtocolError, encode
from llamacli.backend.child.wire.frames import Channel
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import ClosedError, ContextFullError, MemoryFullError, UsageError

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


@contextmanager
def received_here(path: Path) -> Iterator[tuple[ChildEngine, LoopEngine]]:
    """An engine whose messages the running loop receives."""
    with open_engine(path, ModelParams(), ContextParams(n_ctx=1024, n_seq_max=2, threads=1)) as engine:
        from_loop = LoopEngine(engine)
        from_loop.receive_here()
        yield engine, from_loop


async def closed(engine: ChildEngine) -> None:
    """Close an engine while the loop runs."""
    await asyncio.to_thread(engine.close)


def test_a_loop_that_receives_gets_the_same(engine: ChildEngine, tiny_model: Path) -> None:
    async def main() -> tuple[list[AnswerEvent], list[int]]:
        with received_here(tiny_model) as (here, from_loop):
            events = await collected(from_loop.answer(await from_loop.render(HELLO), GREEDY, samples=1))
            tokens = await asyncio.to_thread(here.tokenize, "Hello " * 50000)  # a frame of many parts, asked for by a thread
            await closed(here)
        return events, tokens

    events, tokens = asyncio.run(main())
    (*_, answer), (*_, expected) = events, engine.answer(engine.render(HELLO), GREEDY)
    assert isinstance(answer, Answer)
    assert isinstance(expected, Answer)
    assert answer.content == expected.content
    assert tokens == engine.tokenize("Hello " * 50000)


@pytest.mark.parametrize("ends", ["closed", "killed", "forged"])
def test_a_loop_that_receives_sees_the_end(tiny_model: Path, ends: str) -> None:
    async def main() -> None:
        with received_here(tiny_model) as (here, from_loop):
            answer = from_loop.answer(await from_loop.render(HELLO), GREEDY, samples=1)
            await anext(answer)
            if ends == "closed":
                await closed(here)
            elif ends == "killed":
                os.kill(here.pid, signal.SIGKILL)
            else:
                here.child._channel._received += b"\xff\xff\xff\xff"  # the length of a frame that is too long
            expected = {"closed": ClosedError, "killed": MemoryFullError, "forged": ProtocolError}[ends]
            with pytest.raises(expected):
                await collected(answer)
            with pytest.raises(expected):
                await from_loop.render(HELLO)
            await closed(here)

    asyncio.run(main())


def test_a_loop_that_has_ended_keeps_nobody_from_closing(tiny_model: Path) -> None:
    async def main(engine: ChildEngine) -> None:
        from_loop = LoopEngine(engine)
        from_loop.receive_here()
        await from_loop.render(HELLO)

    engine = open_engine(tiny_model, ModelParams(), ContextParams(threads=1))
    asyncio.run(main(engine))
    engine.close()
    assert not engine.is_alive


def test_a_receiver_may_be_stopped_before_it_receives() -> None:
    async def main() -> list[object]:
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
        here, there = socket.socketpair()
        with here, there:
            receiver = LoopReceiver()
            receiver.stop()
            await asyncio.wait_for(asyncio.to_thread(receiver.run, Channel(here), problems.append), timeout=10)
        return problems

    assert asyncio.run(main()) == []


def refuse(turn: Turn) -> None:
    raise ContextFullError("it is too long", needed=len(turn.prompt.tokens), available=0)


@pytest.mark.parametrize(("most", "check"), [(1000, refuse), (0, lambda _: None)])
def test_a_question_is_answered_in_one_call_or_in_two(engine: ChildEngine, most: int, check: Callable[[Turn], None]) -> None:
    async def main() -> list[AnswerEvent]:
        return await collected(LoopEngine(engine).ask(HELLO, GREEDY, samples=1, check=check, most=most))

    *pieces, answer = asyncio.run(main())
    *_, expected = engine.answer(engine.render(HELLO), GREEDY)
    assert isinstance(answer, Answer)
    assert isinstance(expected, Answer)
    assert answer.content == expected.content
    assert len(pieces) > 256


@pytest.mark.parametrize("most", [1000, 0])
def test_whole_answers_come_without_pieces(engine: ChildEngine, most: int) -> None:
    async def main() -> tuple[Answer, ...]:
        return await LoopEngine(engine).ask_whole(HELLO, GREEDY, samples=2, check=lambda _: None, most=most)

    first, second = asyncio.run(main())
    *_, expected = engine.answer(engine.render(HELLO), GREEDY)
    assert isinstance(expected, Answer)
    assert first.content == second.content == expected.content


def test_parameters_are_remembered_unless_they_are_large() -> None:
    few, many = (SamplingParams(logit_bias=tuple((token, 1.0) for token in range(count))) for count in (2, 2000))
    for sampling, is_same in ((few, True), (many, False)):
        params = GenerationParams(sampling=sampling)
        first, again = (params_of(encode(params)) for _ in range(2))
        assert first == again == params
        assert (first is again) == is_same


def test_who_leaves_whole_answers_ends_them(engine: ChildEngine) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(LoopEngine(engine).ask_whole(HELLO, GREEDY, samples=1, check=refuse, most=1000))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.child._pending == {}

    asyncio.run(main())


def test_a_question_whose_prompt_is_too_long_is_refused(engine: ChildEngine) -> None:
    async def main() -> None:
        with pytest.raises(ContextFullError):
            await collected(LoopEngine(engine).ask(HELLO, GREEDY, samples=1, check=refuse, most=0))
        with pytest.raises(ContextFullError):
            await LoopEngine(engine).ask_whole(HELLO, GREEDY, samples=1, check=refuse, most=0)
        empty = LoopEngine(engine).ask(Question(), GREEDY, samples=1, check=refuse, most=9)
        with pytest.raises(UsageError):
            await collected(empty)

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
