"""One answer: from the messages to the engine, and what comes of it to the screen and into the tree."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.engine.answer import AnswerReader
from llamacli.engine.chat import Rendering
from llamacli.engine.events import Finished, Prefill, Token
from llamacli.engine.message import Message
from llamacli.engine.turn import Turn
from llamacli.errors import ContextFullError
from llamacli.render.conversation import AnswerView, MarkdownView, PlainView

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine
    from llamacli.repl.chat import Chat
    from llamacli.repl.setup import Cancelling
    from llamacli.repl.tree import Node

SAVE_SECONDS = 0.05
"""What comes in so short a time is shown and saved together."""

LOW_SHARE = 8
"""When less than one part in so many of the context is left, the user is told."""

_LONGEST_ANSWER = 1 << 30
"""More tokens than any answer has: where the context's size is not fixed, it may grow to what the model was trained with."""

CUTS = {"length": "cut by the limit of tokens", "context": "the context is full", "cancelled": "stopped"}


@dataclass(frozen=True, slots=True)
class Measured:
    """How the last answer went. `first_token_ms` counts from when it was asked for, None if nothing came."""

    finished: Finished
    first_token_ms: float | None


def build_turn(chat: Chat, engine: Engine, first: int = 0) -> Turn:
    """The prompt for the conversation as it is now, from its message number `first` on.

    Raises:
        TemplateError: the template refuses the messages.
    """
    system = (Message("system", chat.system),) if chat.system else ()
    rendering = Rendering(enable_thinking=chat.thinks)
    return engine.chat_turn((*system, *chat.tree.messages()[first:]), rendering, template=chat.setup.template)


def room(engine: Engine, turn: Turn) -> tuple[int, int]:
    """Tokens of the prompt, and of the largest context that it could have."""
    return len(turn.prompt.tokens), engine.context_for(turn.prompt, _LONGEST_ANSWER)


def fitting_turn(chat: Chat, engine: Engine) -> Turn:
    """The prompt for the conversation. With a context shift it is without the oldest turns that leave no room, which is said.

    Raises:
        TemplateError: the template refuses the messages.
    """
    turn = build_turn(chat, engine)
    if not chat.generation.context_shift:
        return turn
    starts = [number for number, message in enumerate(chat.tree.messages()) if message.role == "user"]
    left_out = 0
    for first in starts[1:]:
        used, size = room(engine, turn)
        if size - used >= size // LOW_SHARE:
            break
        turn, left_out = build_turn(chat, engine, first), first
    if left_out:
        chat.setup.screen.warn(f"the context is full: the model no longer sees the oldest {left_out} messages")
    return turn


def check_room(chat: Chat, engine: Engine, turn: Turn) -> None:
    """Says when the context is nearly full. Raises ContextFullError if it has no room for an answer."""
    used, size = room(engine, turn)
    chat.largest_context = size
    if used >= size:
        raise ContextFullError(
            f"the conversation has {used} tokens, the context {size}",
            needed=used + 1,
            available=size,
            hint="/undo takes back a turn, /clear begins anew, /set context_shift on leaves out the oldest, -c makes it larger",
        )
    if not chat.generation.context_shift and size - used < size // LOW_SHARE:
        what = "the answer ends where the context is full; /set context_shift on leaves out the oldest turns instead"
        chat.setup.screen.warn(f"{size - used} tokens of the context are left: {what}")


class Answering:
    """Runs one turn. The answer is in the tree from its first text on, so that nothing shown is lost."""

    def __init__(self, chat: Chat, engine: Engine, turn: Turn) -> None:
        self._chat = chat
        self._engine = engine
        self._turn = turn
        self._view = make_view(chat)
        self._content = ""
        self._reasoning = ""
        self._shown = [0, 0]
        self._node: Node | None = None
        self._next = 0.0
        self._first_token_ms: float | None = None

    def run(self) -> bool:
        """Streams the answer. False if it was stopped before anything came.

        Raises:
            LlamacliError: what `Engine.generate` raises. What came before stays.
            KeyboardInterrupt: a signal stopped the answer, which is kept.
        """
        setup = self._chat.setup
        started = time.perf_counter()
        with setup.guard() as guard, setup.progress() as bar, AnswerReader(self._turn) as reader:
            guard.cancel = self._engine.cancel
            sampling = dataclasses.replace(setup.sampling(self._engine), **self._chat.overrides)
            params = dataclasses.replace(self._chat.generation, sampling=sampling)
            try:
                for event in self._engine.generate(self._turn.prompt, params, guidance=self._turn.guidance):
                    self._insist(guard, event)
                    if isinstance(event, Prefill):
                        bar.update("reading the prompt", event.done, event.total)
                        continue
                    bar.finish()
                    if isinstance(event, Token) and self._first_token_ms is None:
                        self._first_token_ms = (time.perf_counter() - started) * 1e3
                    if isinstance(event, Token | Finished):
                        self._take(reader, event)
            finally:
                bar.finish()
                self._flush(force=True)
                self._view.finish()
        return self._node is not None

    def _insist(self, guard: Cancelling, event: object) -> None:
        """A cancel that came before the engine had begun was not for it."""
        if guard.received is not None and not isinstance(event, Finished):
            self._engine.cancel()

    def _take(self, reader: AnswerReader, event: Token | Finished) -> None:
        deltas = reader.feed(event.text)
        if not isinstance(event, Finished):
            for delta in deltas:
                self._content += delta.content
                self._reasoning += delta.reasoning_content
            self._flush()
            return
        answer, last = reader.finish(complete=event.reason == "stop")
        for delta in (*deltas, *last):
            self._content += delta.content
            self._reasoning += delta.reasoning_content
        self._flush(force=True)
        self._chat.measured = Measured(event, self._first_token_ms)
        cut = CUTS.get(event.reason, "")
        if self._node is not None or event.reason != "cancelled":
            message = answer.message()
            node = self._node or self._chat.tree.add(message)
            self._node = self._chat.tree.grow(node, message, cut)

    def _flush(self, *, force: bool = False) -> None:
        """Keeps what is new in the tree, and then shows it."""
        now = time.monotonic()
        content, reasoning = self._content[self._shown[0] :], self._reasoning[self._shown[1] :]
        if not (content or reasoning) or (now < self._next and not force):
            return
        self._next = now + SAVE_SECONDS
        self._shown = [len(self._content), len(self._reasoning)]
        message = Message("assistant", self._content, reasoning_content=self._reasoning or None)
        if self._node is None:
            self._node = self._chat.tree.add(message)
        self._node = self._chat.tree.grow(self._node, message, CUTS["cancelled"])
        if reasoning:
            self._view.think(reasoning)
        if content:
            self._view.add(content)


def make_view(chat: Chat) -> AnswerView:
    """Where the next answer is shown."""
    screen = chat.setup.screen
    if chat.setup.plain:
        return PlainView(screen.write, shows_reasoning=chat.shows_reasoning)
    return MarkdownView(screen.write, screen.size, color=screen.color, shows_reasoning=chat.shows_reasoning)
