"""A question as its caller puts it, before a model makes a turn of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from llamacli.engine.chat.message import Message, Tool
from llamacli.engine.chat.rendering import ReasoningFormat, ToolChoice
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.engine.media.media import Media
from llamacli.values import dataclass

_SYSTEM_ROLES = ("system", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question: `text` or `tokens` to be continued, `text` or a `conversation` to be answered, or a gap between two texts,
    beside `files` of the same project (names and texts). `media` come before the text in its message.

    `system` replaces the system messages of the conversation. `template` is a chat template by name or text, None for the
    model's. `raw` continues the text without one. `reasoning` is "on", "off" or "auto", `budget` the tokens it may take; with
    `reasoning_format` "none" it stays in the content. `variables` are passed to the template. `continues_last`: the last
    message is the start of the answer.
    """

    text: str = ""
    media: tuple[Media, ...] = ()
    tokens: tuple[int, ...] = ()
    conversation: tuple[Message, ...] = ()
    gap: tuple[str, str] | None = None
    files: tuple[tuple[str, str], ...] = ()
    system: str | None = None
    template: str | None = None
    raw: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = False
    reasoning: str = "auto"
    budget: int | None = None
    reasoning_format: ReasoningFormat = "deepseek"
    variables: Mapping[str, Any] | None = None
    constraint: AnswerConstraint | None = None
    continues_last: bool = False

    @property
    def is_text(self) -> bool:
        """True if text is continued or filled in without a chat template."""
        return self.raw or bool(self.tokens) or self.gap is not None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation, with `system` in place of its system messages and the text as the last message."""
        system: tuple[Message, ...] = ()
        conversation = self.conversation
        if self.system is not None:
            system = (Message("system", self.system),)
            conversation = tuple(itertools.dropwhile(lambda message: message.role in _SYSTEM_ROLES, conversation))
        content = (*self.media, *((self.text,) if self.text else ())) if self.media else self.text
        return (*system, *conversation, *((Message("user", content),) if content else ()))
