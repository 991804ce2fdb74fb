"""The stream of one answer: from the engine into its draft."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llamacli.engine.events import Answer, AnswerEvent, Piece, Prefill
from llamacli.engine.generation.room import Room
from llamacli.render.chat.tool_calls import format_call
from llamacli.repl.conversation.draft import AnswerDraft, AnswerPlan
from llamacli.repl.conversation.state import Chat
from llamacli.repl.conversation.trace import Trace
from llamacli.repl.conversation.tree import Node
from llamacli.repl.conversation.view import make_view

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend
    from llamacli.repl.setup import Cancelling


class AnswerStream:
    """Generates one answer."""

    def __init__(self, chat: Chat, engine: Backend, plan: AnswerPlan) -> None:
        self._chat = chat
        self._engine = engine
        self._plan = plan
        self._draft = AnswerDraft(plan, make_view(chat))
        self._started = time.perf_counter()
        self._first_token_ms: float | None = None

    def run(self) -> Node | None:
        """Generate the answer. Return None if it was stopped before its first text.

        Raises:
            LlamacliError: what `Engine.answer` raises. The text so far remains.
            KeyboardInterrupt: if a signal stopped the answer, which remains.
        """
        chat, draft, plan = self._chat, self._draft, self._plan
        chat.session.evaluated = True
        self._started = time.perf_counter()
        with chat.setup.host.guard() as guard, chat.setup.host.progress() as bar:
            guard.cancel = self._engine.cancel
            try:
                for event in self._events():
                    self._repeat_cancel(guard, event)
                    if isinstance(event, Prefill):
                        bar.update("reading the prompt", event.done, event.total)
                        continue
                    bar.finish()
                    if isinstance(event, Piece):
                        self._read(event)
                    elif isinstance(event, Answer):
                        self._finish(event)
            finally:
                bar.finish()
                draft.close()
                self._show_incomplete_calls()
                if draft.node is not None and plan.tree is chat.tree:
                    chat.traces.put(draft.node.id, Trace(plan.turn.prompt, tuple(draft.steps)))
        return draft.node

    def _events(self) -> Iterator[AnswerEvent]:
        """Start the answer; it continues after the context was full, if that is possible."""
        plan, shifts = self._plan, self._chat.settings.generation.context_shift

        def make_room(count: int) -> Room | None:
            room = plan.make_room(count)
            return None if room is None else dataclasses.replace(room, closes_gap=shifts)

        return self._engine.answer(
            plan.turn,
            plan.generation,
            started=[step.id for step in plan.steps],
            closes_gap=shifts and self._chat.window.first_seen is not None,  # otherwise the difference is an edit
            make_room=make_room,
        )

    def _repeat_cancel(self, guard: Cancelling, event: object) -> None:
        """Cancel again: the engine ignores a cancel that came before it started."""
        if guard.received is not None and not isinstance(event, Answer):
            self._engine.cancel()

    def _read(self, piece: Piece) -> None:
        if piece.token is not None and not self._draft.is_replaying and self._first_token_ms is None:
            self._first_token_ms = (time.perf_counter() - self._started) * 1e3
        self._draft.add(piece)

    def _finish(self, answer: Answer) -> None:
        if self._draft.is_replaying:
            return  # stopped before it could continue: the answer stays as it was
        self._chat.measured = dataclasses.replace(answer, first_token_ms=self._first_token_ms or answer.first_token_ms)
        self._draft.finish(answer)

    def _show_incomplete_calls(self) -> None:
        screen = self._chat.setup.screen
        for call in self._draft.incomplete_calls:
            screen.write(screen.label("tool ") + format_call(call.name, call.arguments, screen.size()[0] - 6) + "\n")
            screen.note("  not run: the call is incomplete")
