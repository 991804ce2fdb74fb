"""One answer: from the prompt to the engine, and what comes of it to the screen and into the tree."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.engine.chat.message import Message, ToolCall
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent, Piece, Prefill, Token
from llamacli.engine.generation.room import Room
from llamacli.engine.params import GenerationParams
from llamacli.render.chat.answer import AnswerView, MarkdownView, PlainView
from llamacli.repl.conversation.trace import Step, Trace

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine
    from llamacli.repl.conversation.state import Chat
    from llamacli.repl.conversation.tree import Node, Tree
    from llamacli.repl.setup import Cancelling

SAVE_SECONDS = 0.05
"""What comes in so short a time is shown and saved together."""

BROKEN_CALL = "it called a tool with arguments that are no JSON"
CUTS = {"length": "cut by the limit of tokens", "context": "the context is full", "cancelled": "stopped"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be answered, and where the answer goes.

    `steps` are the tokens that the answer begins with; of their text `unseen` gives what is to be shown. `node` is the answer
    that grows; None makes a new one behind the head of `tree`. `generation` says when the answer ends. `make_room` is asked
    when the context is full in the middle of an answer of so many tokens; None ends the answer there.
    """

    turn: Turn
    tree: Tree
    generation: GenerationParams
    make_room: Callable[[int], Room | None]
    steps: tuple[Step, ...] = ()
    node: Node | None = None
    unseen: Callable[[str], str] = str


class Answering:
    """Runs one turn. The answer is in the tree from its first text on, so that nothing shown is lost."""

    def __init__(self, chat: Chat, engine: Engine, plan: Plan) -> None:
        self._chat = chat
        self._engine = engine
        self._plan = plan
        self._view = make_view(chat)
        self._steps: list[Step] = []
        self._content = ""
        self._reasoning = ""
        self._shown = [0, 0]
        self._node = plan.node
        self._next = 0.0
        self._first_token_ms: float | None = None
        self._started = time.perf_counter()

    def run(self) -> Node | None:
        """Streams the answer. None if it was stopped before anything came.

        Raises:
            LlamacliError: what `Engine.answer` raises. What came before stays.
            KeyboardInterrupt: a signal stopped the answer, which is kept.
        """
        setup = self._chat.setup
        self._chat.evaluated = True
        with setup.guard() as guard, setup.progress() as bar:
            guard.cancel = self._engine.cancel
            try:
                for event in self._events():
                    self._insist(guard, event)
                    if isinstance(event, Prefill):
                        bar.update("reading the prompt", event.done, event.total)
                        continue
                    bar.finish()
                    if isinstance(event, Piece):
                        self._take(event)
                    elif isinstance(event, Answer):
                        self._finish(event)
            finally:
                bar.finish()
                self._flush(force=True)
                self._view.finish()
                if self._node is not None and self._plan.tree is self._chat.tree:
                    self._chat.traces.put(self._node.id, Trace(self._plan.turn.prompt, tuple(self._steps)))
        return self._node

    def _events(self) -> Iterator[AnswerEvent]:
        """The engine's events, also where the context fills up in the middle of the answer and there is a way to continue."""
        plan, shifts = self._plan, self._chat.generation.context_shift

        def make_room(count: int) -> Room | None:
            room = plan.make_room(count)
            return None if room is None else dataclasses.replace(room, closes_gap=shifts)

        return self._engine.answer(
            plan.turn,
            plan.generation,
            started=[step.id for step in plan.steps],
            closes_gap=shifts and self._chat.first_seen is not None,  # otherwise what differs was edited
            make_room=make_room,
        )

    def _insist(self, guard: Cancelling, event: object) -> None:
        """A cancel that came before the engine had begun was not for it."""
        if guard.received is not None and not isinstance(event, Answer):
            self._engine.cancel()

    def _take(self, piece: Piece) -> None:
        if piece.token is not None:
            self._note(piece.token)
        for delta in piece.deltas:
            self._content += delta.content
            self._reasoning += delta.reasoning_content
        if piece.token is None:
            return
        if len(self._steps) == len(self._plan.steps):
            self._shown = [len(self._content), len(self._reasoning)]
            self._show_unseen()
        elif len(self._steps) > len(self._plan.steps):
            self._flush()

    def _finish(self, answer: Answer) -> None:
        if len(self._steps) < len(self._plan.steps):
            return  # stopped before it could go on: what there was stays as it was
        self._flush(force=True)
        self._chat.measured = dataclasses.replace(answer, first_token_ms=self._first_token_ms)
        cut = CUTS.get(answer.finish_reason, "")
        if self._node is not None or answer.finish_reason != "cancelled":
            message = answer.message()
            if message.tool_calls and not (answer.finish_reason == "stop" and all(map(is_sound, message.tool_calls))):
                message = dataclasses.replace(message, tool_calls=())  # no template takes half a call
                cut = cut or BROKEN_CALL
            node = self._node or self._plan.tree.add(message)
            self._node = self._plan.tree.grow(node, message, cut)

    def _note(self, event: Token) -> None:
        """Remembers a token, with what was known of it if the answer begins with it."""
        known = self._plan.steps
        number = len(self._steps)
        self._steps.append(known[number] if number < len(known) else Step(event.id, event.piece, event.logprob))
        if number >= len(known) and self._first_token_ms is None:
            self._first_token_ms = (time.perf_counter() - self._started) * 1e3

    def _show_unseen(self) -> None:
        """Shows what is to be shown of the beginning, which is in the tree already if a node grows."""
        text = self._plan.unseen(self._content)
        if text:
            self._view.add(text)

    def _flush(self, *, force: bool = False) -> None:
        """Keeps what is new in the tree, and then shows it."""
        now = time.monotonic()
        content, reasoning = self._content[self._shown[0] :], self._reasoning[self._shown[1] :]
        if not (content or reasoning) or (now < self._next and not force):
            return
        if self._plan.node is not None and len(self._content) < len(self._plan.node.message.text):
            return  # the reader has not got through what was there before
        self._next = now + SAVE_SECONDS
        self._shown = [len(self._content), len(self._reasoning)]
        message = Message("assistant", self._content, reasoning_content=self._reasoning or None)
        if self._node is None:
            self._node = self._plan.tree.add(message)
        self._node = self._plan.tree.grow(self._node, message, CUTS["cancelled"])
        if reasoning:
            self._view.think(reasoning)
        if content:
            self._view.add(content)


def is_sound(call: ToolCall) -> bool:
    """Whether the arguments of a call are a JSON object, as templates take it for granted."""
    try:
        return isinstance(json.loads(call.arguments or "{}"), dict)
    except (ValueError, RecursionError):
        return False


def make_view(chat: Chat) -> AnswerView:
    """Where the next answer is shown."""
    screen = chat.setup.screen
    if chat.setup.plain:
        return PlainView(screen.write, shows_reasoning=chat.shows_reasoning)
    shows = chat.shows_reasoning
    return MarkdownView(screen.write, screen.size, color=screen.color, shows_reasoning=shows, grows=screen.live)
