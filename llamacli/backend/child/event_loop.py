"""An engine in a child from an event loop: its prompts and answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager

import msgspec

from llamacli.backend.child import contract
from llamacli.backend.child.contract import AnswerRequest, AskRequest, WholeAnswers, WholeRequest
from llamacli.backend.child.engine import ChildEngine
from llamacli.backend.child.media import media_of, send_media, with_data
from llamacli.backend.child.process.loop_call import LoopCall, LoopReceiver
from llamacli.backend.child.wire.codec import encode
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent
from llamacli.engine.params import GenerationParams
from llamacli.store.prompt_cache import BLOCK


class LoopEngine:
    """The prompts and answers of an engine in a child, from an event loop."""

    def __init__(self, engine: ChildEngine) -> None:
        self._engine = engine
        self._last_params: tuple[GenerationParams | None, msgspec.Raw] = None, msgspec.Raw(b"")

    def receive_here(self) -> None:
        """Receive the child's messages in the running loop from now on, which must run until the engine is closed."""
        self._engine.child.hand_over(LoopReceiver())
        self._engine.child.tell(contract.N_CTX)  # its answer wakes the thread that received until now

    async def render(self, question: Question) -> Turn:
        """Return the turn of a question. Raises as `Engine.render`."""
        turn: Turn = await (await LoopCall.begin(self._engine.child, contract.RENDER, question)).result()
        return with_data(turn, media_of(question))

    async def ask(
        self, question: Question, params: GenerationParams, *, samples: int, check: Callable[[Turn], None], most: int
    ) -> AsyncGenerator[list[AnswerEvent], None]:
        """Yield the events of the answer to a question, in one call if the prompt has at most `most` tokens and is too
        short to be kept. `check` is called with the turn of a longer one, and may refuse it.

        Raises as `render` and `answer`.
        """
        request = self._asked(question, params, samples, most)
        turn = None
        await self._send_media(question)
        call = await LoopCall.begin(self._engine.child, contract.ASK, request)
        async with aclosing(call.batches()) as batches:
            async for batch in batches:
                if isinstance(batch[0], Turn):
                    turn = with_data(batch[0], media_of(question))
                else:
                    yield batch
        if turn is not None:
            check(turn)
            async with aclosing(self.answer(turn, params, samples=samples)) as batches:
                async for batch in batches:
                    yield batch

    async def ask_whole(
        self, question: Question, params: GenerationParams, *, samples: int, check: Callable[[Turn], None], most: int
    ) -> tuple[Answer, ...]:
        """Return the answers to a question when they have ended; see `ask`."""
        request = self._asked(question, params, samples, most)
        await self._send_media(question)
        found: WholeAnswers = await (await LoopCall.begin(self._engine.child, contract.ASK_WHOLE, request)).result()
        if found.turn is None:
            return found.answers
        turn = with_data(found.turn, media_of(question))
        check(turn)
        return await self.answer_whole(turn, params, samples=samples)

    async def answer(self, turn: Turn, params: GenerationParams, *, samples: int) -> AsyncGenerator[list[AnswerEvent], None]:
        """Yield the events of an answer in batches. Leaving the iterator ends it. Raises as `Engine.answer`."""
        request = AnswerRequest(turn, params, samples, (), closes_gap=False, asks_for_room=False)
        async with self._with_cache(turn, params) as keep:
            await self._send_media(turn)
            call = await LoopCall.begin(self._engine.child, contract.ANSWER, request)
            async with aclosing(call.batches()) as batches:
                async for batch in batches:
                    keep(event for event in batch if isinstance(event, Answer))
                    yield batch

    async def answer_whole(self, turn: Turn, params: GenerationParams, *, samples: int) -> tuple[Answer, ...]:
        """Return the answers to a turn when they have ended. Raises as `Engine.answer`."""
        request = WholeRequest(turn, self._packed(params), samples)
        async with self._with_cache(turn, params) as keep:
            await self._send_media(turn)
            found: WholeAnswers = await (await LoopCall.begin(self._engine.child, contract.ANSWER_WHOLE, request)).result()
            keep(found.answers)
            return found.answers

    def _asked(self, question: Question, params: GenerationParams, samples: int, most: int) -> AskRequest:
        """The request of a question. A prompt that may be kept is answered by a call of its own."""
        prompts = self._engine.prompts
        if prompts is not None and prompts.take(params):
            most = min(most, BLOCK - 1)
        return AskRequest(question, self._packed(params), samples, most)

    def _packed(self, params: GenerationParams) -> msgspec.Raw:
        """Parameters for the wire. Those of the last request are kept: the next one mostly has the same."""
        known, packed = self._last_params
        if known is not params:
            packed = msgspec.Raw(encode(params))
            self._last_params = params, packed
        return packed

    @asynccontextmanager
    async def _with_cache(self, turn: Turn, params: GenerationParams) -> AsyncIterator[Callable[[Iterable[Answer]], None]]:
        """Prepare a prompt from the cache, and yield a function for the answers of the block, the first of which it keeps."""
        prompts = self._engine.prompts
        if prompts is None or not prompts.take(params):
            yield lambda answers: None
            return
        prompt = (*turn.prompt.tokens, *turn.started)
        is_kept = False

        def keep(answers: Iterable[Answer]) -> None:
            nonlocal is_kept
            answer = next(iter(answers), None)
            if answer is not None and not is_kept:
                is_kept = True
                prompts.keep(prompt, answer)

        with prompts.answering():
            if prompts.may_have(prompt):
                await asyncio.to_thread(prompts.prepare, prompt)
            yield keep

    async def _send_media(self, source: Question | Turn) -> None:
        if media := media_of(source):
            await asyncio.to_thread(send_media, self._engine.child, media)
