"""One turn of a conversation as a value: the prompt, the constraint of the answer, and its format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamacli.engine.chat.message import Message, Tool
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.engine.constraint.guidance import Constraint, Guidance
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A prompt and what belongs to its answer.

    `answer_format` is for `AnswerParser`; None if the text of the answer is its content. `is_constrained`: a constraint ends
    the content, so that what the template writes after it is missing. `thinks`: the answer may start with reasoning. `is_chat`
    is False for text that is only continued. `expected`, `requires_call` and `tools` are what `check_answer` checks.
    `start` is the known start of the answer, and `started` its tokens: the events of the answer leave it out.
    """

    prompt: Prompt
    guidance: Guidance | None = None
    answer_format: Mapping[str, Any] | None = None
    is_constrained: bool = False
    thinks: bool = False
    is_chat: bool = True
    expected: AnswerConstraint | None = None
    requires_call: bool = False
    tools: tuple[Tool, ...] = ()
    start: Message | None = None
    started: tuple[int, ...] = ()


def text_turn(prompt: Prompt, constraint: Constraint | None = None) -> Turn:
    """Return a turn without a chat template: the text is continued."""
    return Turn(prompt=prompt, guidance=Guidance(constraint=constraint) if constraint else None, is_chat=False)
