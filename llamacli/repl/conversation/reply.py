"""From what was said to the whole reply: the answer, the tools that it calls, and the answer to their results."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from llamacli.engine.chat.turn import Turn
from llamacli.engine.generation.room import Room
from llamacli.engine.params import GenerationParams
from llamacli.errors import ConstraintError
from llamacli.repl.conversation.context_window import LOW_SHARE, check_room, fitting_turn, messages_of, rendering, room
from llamacli.repl.conversation.kv_state import restore_state
from llamacli.repl.conversation.stream import Answering, Plan
from llamacli.repl.conversation.tool_calls import run_calls
from llamacli.repl.conversation.trace import Beginning, Step

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine
    from llamacli.repl.conversation.state import Chat
    from llamacli.repl.conversation.tree import Node


def reply(chat: Chat, engine: Engine) -> None:
    """Answers the conversation as it is now, or as `chat.beginning` says, and runs the tools that are called.

    Raises:
        LlamacliError: there is no room, or what `Answering.run` raises.
        KeyboardInterrupt: the user stopped it.
    """
    restore_state(chat, engine)
    beginning, chat.beginning = chat.beginning or Beginning(chat.tree.head), None
    left: int | None = chat.setup.max_tool_calls
    while left is not None:
        node = _answer(chat, engine, beginning)
        chat.required_tool = None
        if node is None:
            return
        left = run_calls(chat, left)
        beginning = Beginning(chat.tree.head)


def _answer(chat: Chat, engine: Engine, beginning: Beginning) -> Node | None:
    tip = beginning.question
    turn, left_out = fitting_turn(chat, engine, tip, len(beginning.steps))
    steps = beginning.steps
    if beginning.node is not None and not steps:
        steps = _steps_of(chat, engine, turn, beginning)
    check_room(chat, engine, turn, len(steps))
    params = generation(chat, engine, tip)
    making = RoomMaking(chat, engine, tip, left_out)
    making.tell()
    if beginning.node is not None:
        chat.tree.move(beginning.node.id)
    plan = Plan(
        turn=turn,
        tree=chat.tree,
        generation=params,
        make_room=making,
        steps=steps,
        node=beginning.node,
        unseen=str if beginning.node is None else last_block,
    )
    try:
        node = Answering(chat, engine, plan).run()
    finally:
        making.tell()
    if node is not None and not node.cut and chat.held is not None:
        try:
            chat.held.check(node.message.text)
        except ConstraintError as error:
            chat.setup.screen.warn(error.message)
    return node


def generation(chat: Chat, engine: Engine, tip: int | None = None) -> GenerationParams:
    """How an answer to message `tip` is generated. What happens when the context is full is ours to say, not the engine's.

    With a seed that was given, another answer to the same message gets another one.
    """
    sampling = chat.sampling()
    if sampling.seed is not None:
        siblings = sum(node.parent == tip and node.message.role == "assistant" for node in chat.tree.nodes)
        sampling = dataclasses.replace(sampling, seed=(sampling.seed + siblings) % 2**32)
    return dataclasses.replace(chat.generation, sampling=sampling, context_shift=False, logprobs=0)


def last_block(text: str) -> str:
    """The end of an answer that may still grow: its last block, as Markdown has them."""
    from llamacli.render.chat.markdown import unfinished_from

    return text[unfinished_from(text) :]


def _steps_of(chat: Chat, engine: Engine, turn: Turn, beginning: Beginning) -> tuple[Step, ...]:
    """The tokens of an answer of which only the text is known."""
    assert beginning.node is not None
    messages = (*messages_of(chat, beginning.question), beginning.node.message)
    tokens = engine.answer_tokens(turn, messages, rendering(chat, engine), template=chat.model.template)
    return tuple(Step(token, b"") for token in tokens)


class RoomMaking:
    """What is done when the context fills up in the middle of an answer.

    It grows if its size was not given; with a context shift the oldest turns are left out, then the beginning of the answer.
    What of that the user has to know is told when nothing is being drawn.
    """

    def __init__(self, chat: Chat, engine: Engine, tip: int | None, left_out: int) -> None:
        self._chat = chat
        self._engine = engine
        self._tip = tip
        self._left_out = left_out
        self._cuts_answer = False

    def __call__(self, count: int) -> Room | None:
        """How to go on with an answer of `count` tokens, or None."""
        chat, engine = self._chat, self._engine
        turn, left_out = fitting_turn(chat, engine, self._tip, count)
        self._left_out += left_out
        if engine.context_for(turn.prompt, count + 1) > engine.n_ctx:
            return Room(turn)
        if not chat.generation.context_shift:
            return None
        used, size = room(engine, turn)
        if used + count < size and left_out:
            return Room(turn)
        if size - used < size // LOW_SHARE or chat.held is not None:  # a grammar has to see the whole answer
            return None
        self._cuts_answer = True
        return Room(turn, count - (size - used) // 2)

    def tell(self) -> None:
        """Says what the model no longer sees."""
        screen = self._chat.setup.screen
        left_out, self._left_out = self._left_out, 0
        if left_out:
            screen.warn(f"the context is full: the model no longer sees the oldest {left_out} messages")
        if self._cuts_answer:
            screen.warn("the context is full: the model no longer sees the beginning of this answer")
