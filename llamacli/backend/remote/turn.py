"""A turn for a server: what is asked, as part of a document, in place of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llamacli.backend.remote.server import Dialect
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.engine.constraint.guidance import Constraint
from llamacli.openai.client import request
from llamacli.openai.client.request import Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTurn(Turn):
    """A turn whose prompt the server makes. `path` is the endpoint, `body` the document without parameters.

    `lacks` are what the server cannot do of what was asked.
    """

    path: str
    body: Mapping[str, Any]
    lacks: tuple[str, ...] = ()


def question_turn(question: Question, dialect: Dialect) -> RemoteTurn:
    """Return the turn of a question."""
    draft = Draft(extended=dialect == "llama")
    request.add_constraint(draft, question.constraint)
    if question.is_text:
        before, after = question.gap or (question.text, None)
        draft.body["prompt"] = list(question.tokens) or before
        if after is not None:
            draft.body["suffix"] = after
        return _checked(_turn("completions", draft, text=before, is_chat=False), question.constraint)
    request.add_messages(draft, question.messages)
    request.add_tools(draft, question.tools, question.tool_choice, parallel=question.parallel_tool_calls)
    request.add_reasoning(draft, question.reasoning, question.budget, question.variables)
    if question.template is not None:
        draft.lacks.append("chat_template")
    turn = _checked(_turn("chat/completions", draft), question.constraint)
    if not question.tools:
        return turn
    tools = question.tools if question.tool_choice != "none" else ()
    return replace(turn, tools=tools, requires_call=question.tool_choice == "required")


def conversation_turn(
    messages: Sequence[Message],
    rendering: Rendering,
    dialect: Dialect,
    *,
    template: str | None,
    constraint: Constraint | None,
    budget: int | None,
) -> RemoteTurn:
    """Return the turn that answers messages."""
    return question_turn(
        Question(
            conversation=tuple(messages),
            template=template,
            tools=rendering.tools,
            tool_choice=rendering.tool_choice,
            parallel_tool_calls=rendering.parallel_tool_calls,
            reasoning="auto" if rendering.enable_thinking else "off",
            budget=budget,
            variables=rendering.variables,
            constraint=AnswerConstraint(constraint) if constraint is not None else None,
        ),
        dialect,
    )


def _turn(path: str, draft: Draft, *, text: str = "", is_chat: bool = True) -> RemoteTurn:
    return RemoteTurn(prompt=Prompt(text, ()), path=path, body=draft.body, lacks=tuple(draft.lacks), is_chat=is_chat)


def _checked(turn: RemoteTurn, constraint: AnswerConstraint | None) -> RemoteTurn:
    """The turn whose answer is checked here, whatever the server has enforced."""
    if constraint is None:
        return turn
    return replace(turn, expected=replace(constraint, checks_grammar=not constraint.has_schema), is_constrained=True)
