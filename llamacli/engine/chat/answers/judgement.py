"""The judgement of an answer: cut or complete, and what its turn requires."""

from __future__ import annotations

from llamacli.engine.chat.message import ToolCall
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.answer_constraint import check_json
from llamacli.engine.events import Answer
from llamacli.errors import ConstraintError

_CUTS: dict[str, tuple[str, str | None, str | None]] = {
    "length": ("by max_tokens", "max_tokens", "raise max_tokens"),
    "context": ("because the context is full", "n_ctx", "raise n_ctx"),
    "stop": ("by a stop text", None, None),
}
"""How an answer was cut, the parameter that cut it, and what helps."""


def check_answer(turn: Turn, answer: Answer) -> None:
    """Check that an answer is complete under the constraint of its turn. A cancelled answer passes.

    Raises:
        ConstraintError: if it was cut before it was complete, does not fit its schema, or lacks a required tool call; if a
            tool call is of an unknown tool, or its arguments do not fit the tool's schema.
    """
    if answer.finish_reason == "cancelled":
        return
    how, parameter, hint = _CUTS[answer.finish_reason]
    if turn.expected is not None:
        if answer.finish_reason != "stop" or answer.satisfied is False:
            raise ConstraintError(f"the answer was cut {how} before it was complete", hint=hint, parameter=parameter)
        turn.expected.check((turn.start.text if turn.start is not None else "") + answer.content)
    if turn.requires_call and not (answer.tool_calls and answer.finish_reason == "stop"):
        helps = not answer.content.strip()  # prose would continue without end
        raise ConstraintError(
            "the answer has no complete tool call", hint=hint if helps else None, parameter=parameter if helps else None
        )
    if answer.finish_reason == "stop":
        for call in answer.tool_calls:
            _check_call(turn, call)


def _check_call(turn: Turn, call: ToolCall) -> None:
    """Check a tool call against its tool: most templates do not constrain the arguments. Raises ConstraintError."""
    tool = next((tool for tool in turn.tools if tool.name == call.name), None)
    if tool is None:
        known = ", ".join(tool.name for tool in turn.tools)
        raise ConstraintError(f"the answer calls an unknown tool {call.name!r}", hint=f"known are {known}" if known else None)
    schema = tool.parameters if tool.parameters is not None else {"type": "object"}
    check_json(call.arguments or "{}", schema, f"the call of {call.name}")
