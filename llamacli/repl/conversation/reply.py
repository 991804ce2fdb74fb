"""The whole reply to a message: the answer, the tools that it calls, and the answer to their results."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from llamacli.engine.chat.message import ToolCall
from llamacli.engine.chat.turn import Turn
from llamacli.engine.generation.room import Room
from llamacli.engine.params import GenerationParams
from llamacli.errors import ConstraintError
from llamacli.repl.conversation.context_window import (
    LOW_SHARE,
    chat_messages,
    check_room,
    fitting_turn,
    measure_room,
    rendering,
)
from llamacli.repl.conversation.draft import AnswerPlan
from llamacli.repl.conversation.kv_state import restore_state
from llamacli.repl.conversation.state import Chat
from llamacli.repl.conversation.stream import AnswerStream
from llamacli.repl.conversation.tool_calls import open_calls, tool_loop
from llamacli.repl.conversation.trace import Beginning, Step
from llamacli.repl.conversation.tree import Node

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend


def reply(chat: Chat, engine: Backend) -> None:
    """Answer the conversation as it is now, or as `chat.turn.beginning` says, and run the tools that are called.

    Raises:
        LlamacliError: if the context is full, or what `AnswerStream.run` raises.
        KeyboardInterrupt: if the user stopped it.
    """
    restore_state(chat, engine)
    loop = tool_loop(chat)

    def answer() -> tuple[ToolCall, ...]:
        beginning, chat.turn.beginning = chat.turn.beginning or Beginning(chat.tree.head), None
        node = _answer(chat, engine, beginning)
        chat.tools.required = None
        return open_calls(chat) if node is not None else ()

    if not loop.run(answer, chat.tree.add):
        chat.setup.screen.warn(f"stopped after {loop.max_calls} tool calls for one message (--max-tool-calls)")


def _answer(chat: Chat, engine: Backend, beginning: Beginning) -> Node | None:
    tip = beginning.question
    turn, left_out = fitting_turn(chat, engine, tip, len(beginning.steps))
    steps = beginning.steps
    if beginning.node is not None and not steps:
        steps = _tokenize_beginning(chat, engine, turn, beginning)
    check_room(chat, engine, turn, len(steps))
    params = generation_params(chat, tip)
    overflow = ContextOverflow(chat, engine, tip, left_out)
    overflow.report()
    if beginning.node is not None:
        chat.tree.move(beginning.node.id)
    plan = AnswerPlan(
        turn=turn,
        tree=chat.tree,
        generation=params,
        make_room=overflow.make_room,
        steps=steps,
        node=beginning.node,
        unseen=str if beginning.node is None else last_block,
    )
    try:
        node = AnswerStream(chat, engine, plan).run()
    finally:
        overflow.report()
    if node is not None and not node.cut:
        _check_constraint(chat, node)
    return node


def _check_constraint(chat: Chat, node: Node) -> None:
    """Warn about a complete answer that does not satisfy its constraint."""
    if chat.settings.constraint is None:
        return
    try:
        chat.settings.constraint.answer.check(node.message.text)
    except ConstraintError as error:
        chat.setup.screen.warn(error.message)


def generation_params(chat: Chat, tip: int | None = None) -> GenerationParams:
    """Return the parameters of an answer to message `tip`. The context shift is left to `ContextOverflow`.

    Log probabilities are for `/probs`, which needs the vocabulary. With a fixed seed, each further answer to the same message
    gets the next seed.
    """
    sampling = chat.sampling()
    if sampling.seed is not None:
        siblings = sum(node.parent == tip and node.message.role == "assistant" for node in chat.tree.nodes)
        sampling = dataclasses.replace(sampling, seed=(sampling.seed + siblings) % 2**32)
    logprobs = 0 if chat.engine().has_vocabulary else None
    return dataclasses.replace(chat.settings.generation, sampling=sampling, context_shift=False, logprobs=logprobs)


def last_block(text: str) -> str:
    """Return the end of an answer that may still grow: its last Markdown block."""
    from llamacli.render.chat.markdown_parser import unfinished_from

    return text[unfinished_from(text) :]


def _tokenize_beginning(chat: Chat, engine: Backend, turn: Turn, beginning: Beginning) -> tuple[Step, ...]:
    """Return the tokens of an answer of which only the text is known."""
    assert beginning.node is not None
    messages = (*chat_messages(chat, beginning.question), beginning.node.message)
    tokens = engine.answer_tokens(turn, messages, rendering(chat, engine), template=chat.model.found.template)
    return tuple(Step(token, b"") for token in tokens)


class ContextOverflow:
    """Makes room when the context fills up in the middle of an answer.

    A context without a fixed size grows. With a context shift the oldest turns are left out, then the beginning of the answer;
    the user is warned as soon as the answer is no longer being drawn.
    """

    def __init__(self, chat: Chat, engine: Backend, tip: int | None, left_out: int) -> None:
        self._chat = chat
        self._engine = engine
        self._tip = tip
        self._left_out = left_out
        self._cuts_answer = False

    def make_room(self, count: int) -> Room | None:
        """Return how to continue an answer of `count` tokens, or None."""
        chat, engine = self._chat, self._engine
        turn, left_out = fitting_turn(chat, engine, self._tip, count)
        self._left_out += left_out
        if engine.context_for(len(turn.prompt.tokens), count + 1) > engine.n_ctx:
            return Room(turn)
        if not chat.settings.generation.context_shift:
            return None
        used, size = measure_room(engine, turn)
        if used + count < size and left_out:
            return Room(turn)
        if size - used < size // LOW_SHARE or chat.settings.constraint is not None:  # a grammar has to see the whole answer
            return None
        self._cuts_answer = True
        return Room(turn, count - (size - used) // 2)

    def report(self) -> None:
        """Warn about what the model no longer sees."""
        screen = self._chat.setup.screen
        left_out, self._left_out = self._left_out, 0
        if left_out:
            screen.warn(f"the context is full: the model no longer sees the oldest {left_out} messages")
        if self._cuts_answer:
            screen.warn("the context is full: the model no longer sees the beginning of this answer")
