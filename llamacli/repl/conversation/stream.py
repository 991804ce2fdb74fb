"""The stream of one answer: from the engine into its draft."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llamacli.engine.chat.answer import AnswerReader
from llamacli.engine.events import Event, Finished, Prefill, Token
from llamacli.repl.conversation.draft import AnswerDraft, AnswerPlan
from llamacli.repl.conversation.state import Chat, Measured
from llamacli.repl.conversation.trace import Trace
from llamacli.repl.conversation.tree import Node
from llamacli.repl.conversation.view import make_view

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine
    from llamacli.repl.setup import Cancelling


class AnswerStream:
    """Generates one answer."""

    def __init__(self, chat: Chat, engine: Engine, plan: AnswerPlan) -> None:
        self._chat = chat
        self._engine = engine
        self._plan = plan
        self._draft = AnswerDraft(plan, make_view(chat))
        self._started = time.perf_counter()
        self._first_token_ms: float | None = None
        self._started = time.perf_counter()

    def run(self) -> Node | None:
        """Generate the answer. Return None if it was stopped before its first text.

        Raises:
            LlamacliError: what `Engine.generate` raises. The text so far remains.
            KeyboardInterrupt: if a signal stopped the answer, which remains.
        """
        chat, draft, plan = self._chat, self._draft, self._plan
        chat.session.evaluated = True
        self._started = time.perf_counter()
        with chat.setup.host.guard() as guard, chat.setup.host.progress() as bar, AnswerReader(plan.turn) as reader:
            guard.cancel = self._engine.cancel
            try:
                for event in self._events():
                    self._repeat_cancel(guard, event)
                    if isinstance(event, Prefill):
                        bar.update("reading the prompt", event.done, event.total)
                        continue
                    bar.finish()
                    if isinstance(event, Token | Finished):
                        self._read(reader, event)
            finally:
                bar.finish()
                draft.close()
                if draft.node is not None and plan.tree is chat.tree:
                    chat.traces.put(draft.node.id, Trace(plan.turn.prompt, tuple(draft.steps)))
        return draft.node

    def _events(self) -> Iterator[Event]:
        """Yield the engine's events, and continue the answer after the context was full, if that is possible."""
        plan, turn, generation = self._plan, self._plan.turn, self._plan.generation
        begun = [step.id for step in plan.steps]
        known = 0  # tokens that were yielded before the context was full
        while True:
            seen = 0
            gap = self._chat.window.first_seen is not None or turn is not plan.turn  # otherwise the difference is an edit
            shifts = gap and self._chat.settings.generation.context_shift
            events = self._engine.generate(turn.prompt, generation, guidance=turn.guidance, begun=begun, closes_gap=shifts)
            for event in events:
                if isinstance(event, Finished) and event.reason == "context":
                    room = plan.make_room(len(self._draft.steps))
                    if room is not None:
                        break
                seen += isinstance(event, Token)
                if not isinstance(event, Token) or seen > known:
                    yield event
            else:
                return
            turn, begun = room.turn, [step.id for step in self._draft.steps[room.left_out :]]
            known = len(begun)
            if plan.generation.max_tokens is not None:
                made = len(self._draft.steps) - len(plan.steps)
                generation = dataclasses.replace(generation, max_tokens=plan.generation.max_tokens - made)

    def _repeat_cancel(self, guard: Cancelling, event: object) -> None:
        """Cancel again: the engine ignores a cancel that came before it started."""
        if guard.received is not None and not isinstance(event, Finished):
            self._engine.cancel()

    def _read(self, reader: AnswerReader, event: Token | Finished) -> None:
        deltas = reader.feed(event.text)
        if isinstance(event, Token):
            if not self._draft.is_replaying and self._first_token_ms is None:
                self._first_token_ms = (time.perf_counter() - self._started) * 1e3
            self._draft.add(event, deltas)
            return
        if self._draft.is_replaying:
            return  # stopped before it could continue: the answer stays as it was
        answer, last = reader.finish(complete=event.reason == "stop")
        self._chat.measured = Measured(event, self._first_token_ms)
        self._draft.finish((*deltas, *last), answer.message(), event.reason)
