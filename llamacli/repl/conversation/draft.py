"""A growing answer: its tokens and text, in the tree and on the screen."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

from llamacli.engine.chat.message import Message, ToolCall
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, Piece
from llamacli.engine.generation.room import Room
from llamacli.engine.params import GenerationParams
from llamacli.errors import InvalidJSONError
from llamacli.json_text import parse_json
from llamacli.render.chat.answer import AnswerView
from llamacli.repl.conversation.trace import Step
from llamacli.repl.conversation.tree import Node, Tree

_FLUSH_SECONDS = 0.05
"""Text of so short a time is saved and shown together."""

_INVALID_CALL = "its tool call has invalid JSON arguments"
CUTS = {"length": "cut at the token limit", "context": "the context is full", "cancelled": "stopped"}
"""The mark of an incomplete answer by its finish reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlan:
    """The prompt of an answer, and the place where the answer goes.

    The answer begins with the tokens `steps`; of their text, `unseen` returns the part to show. `node` is the answer that
    grows; None adds a new one after the head of `tree`. When the context is full after N tokens of the answer, `make_room(N)`
    returns how to continue, or None to end the answer.
    """

    turn: Turn
    tree: Tree
    generation: GenerationParams
    make_room: Callable[[int], Room | None]
    steps: tuple[Step, ...] = ()
    node: Node | None = None
    unseen: Callable[[str], str] = str


class AnswerDraft:
    """An answer while it grows. It is in the tree before it is on the screen, so that nothing shown is lost."""

    def __init__(self, plan: AnswerPlan, view: AnswerView) -> None:
        self._plan = plan
        self._view = view
        self._content = ""
        self._reasoning = ""
        self._flushed = (0, 0)
        self._next_flush = 0.0
        self.steps: list[Step] = []
        self.node = plan.node
        self.incomplete_calls: tuple[ToolCall, ...] = ()

    @property
    def is_replaying(self) -> bool:
        """True until all tokens that the answer begins with are known to the reader again."""
        return len(self.steps) < len(self._plan.steps)

    def add(self, piece: Piece) -> None:
        """Add a token, and the text that became certain with it."""
        for delta in piece.deltas:
            self._content += delta.content
            self._reasoning += delta.reasoning_content
        if piece.token is None:
            if not self._plan.steps:
                self._flush()
            return
        known, number = self._plan.steps, len(self.steps)
        token = Step(piece.token.id, piece.token.piece, piece.token.logprob)
        self.steps.append(known[number] if number < len(known) else token)
        if len(self.steps) == len(known):
            self._flushed = (len(self._content), len(self._reasoning))
            self._show_unseen()
        elif len(self.steps) > len(known):
            self._flush()

    def finish(self, answer: Answer) -> None:
        """Complete the message. Calls that are cut or invalid are not part of it, as templates reject them."""
        message = answer.message()
        if message.text.startswith(self._content):
            self._content = message.text  # text outside the template's format becomes content at the end
        self._flush(force=True)
        if self.node is None and answer.finish_reason == "cancelled":
            return
        cut = CUTS.get(answer.finish_reason, "")
        if message.tool_calls and not (answer.finish_reason == "stop" and all(map(_has_object, message.tool_calls))):
            self.incomplete_calls = message.tool_calls
            message = dataclasses.replace(message, tool_calls=())
            cut = cut or _INVALID_CALL
        node = self.node or self._plan.tree.add(message)
        self.node = self._plan.tree.grow(node, message, cut)

    def close(self) -> None:
        """Save and show what is still pending."""
        self._flush(force=True)
        self._view.finish()

    def _show_unseen(self) -> None:
        text = self._plan.unseen(self._content)
        if text:
            self._view.add(text)

    def _flush(self, *, force: bool = False) -> None:
        """Save the new text in the tree, then show it."""
        now = time.monotonic()
        content, reasoning = self._content[self._flushed[0] :], self._reasoning[self._flushed[1] :]
        if not (content or reasoning) or (now < self._next_flush and not force):
            return
        if self._plan.node is not None and len(self._content) < len(self._plan.node.message.text):
            return  # the reader has not reached the end of the known text yet
        self._next_flush = now + _FLUSH_SECONDS
        self._flushed = (len(self._content), len(self._reasoning))
        message = Message("assistant", self._content, reasoning_content=self._reasoning or None)
        if self.node is None:
            self.node = self._plan.tree.add(message)
        self.node = self._plan.tree.grow(self.node, message, CUTS["cancelled"])
        if reasoning:
            self._view.think(reasoning)
        if content:
            self._view.add(content)


def _has_object(call: ToolCall) -> bool:
    """Return whether the arguments of a call are a JSON object, as templates assume."""
    try:
        return isinstance(parse_json(call.arguments or "{}"), dict)
    except InvalidJSONError:
        return False
