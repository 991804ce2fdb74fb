"""From the answer to a row to its row of output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llamacli.batch.reader import Row
from llamacli.cli.run.constraint import check_json
from llamacli.engine.chat.template import Answer
from llamacli.engine.events import Finished, Token
from llamacli.errors import ConstraintError
from llamacli.openai import response as documents
from llamacli.openai.batch_request import ENDPOINTS, Asked


def check(asked: Asked, answer: Answer, finished: Finished) -> None:
    """Whether the answer is what was asked for. Raises ConstraintError if it is not."""
    if asked.question.tool_choice == "required" and not (answer.tool_calls and finished.reason == "stop"):
        raise ConstraintError("the answer has no complete call of a tool")
    if asked.held is None:
        return
    if finished.reason != "stop" or finished.satisfied is False:
        raise ConstraintError("the answer was cut before it was complete")
    if asked.held.has_schema:
        try:
            check_json(answer.content, asked.held.schema)
        except ValueError as error:
            raise ConstraintError("the answer has a number of thousands of digits") from error


def result(asked: Asked, model: str, answer: Answer, finished: Finished, tokens: Sequence[Token]) -> dict[str, Any]:
    """The row of output for an answer: ours, or that of an OpenAI Batch file. `tokens` are those of its log probabilities."""
    row, reason = asked.row, documents.finish_reason(finished.reason, answer)
    is_chat = ENDPOINTS[row.fields["url"]] if row.is_batch else not asked.question.raw
    logprobs = None
    if asked.params.logprobs is not None:
        logprobs = documents.chat_logprobs(tokens) if is_chat else documents.text_logprobs(tokens)
    if row.is_batch:
        if is_chat:
            choice = documents.chat_choice(0, answer, reason, logprobs)
        else:
            choice = documents.text_choice(0, answer.content, reason, logprobs)
        body = documents.Heading(model, is_chat=is_chat).document([choice], usage=documents.usage(finished.usage))
        response = {"status_code": 200, "request_id": f"req-{row.number}", "body": body}
        return {**_batch_heading(row), "response": response, "error": None}
    found: dict[str, Any] = {**_heading(row), "text": answer.content}
    if answer.reasoning_content:
        found["reasoning_content"] = answer.reasoning_content
    if answer.tool_calls:
        found["tool_calls"] = [call.to_json() for call in answer.tool_calls]
    return {
        **found,
        "finish_reason": reason,
        **({"logprobs": logprobs} if logprobs is not None else {}),
        "usage": documents.usage(finished.usage),
        "timings": documents.timings(finished.timings),
    }


def failure(row: Row, error: Exception, answered: dict[str, Any] | None = None) -> dict[str, Any]:
    """The row of output for a row that failed. `answered` is that of its answer, if it has one."""
    kind = type(error).__name__.removesuffix("Error")
    if row.is_batch:
        told = {"code": kind, "type": kind, "message": str(error)}  # OpenAI's have a code, our own a type
        return {**(answered or {**_batch_heading(row), "response": None}), "error": told}
    return {**(answered or _heading(row)), "error": {"type": kind, "message": str(error)}}


def _batch_heading(row: Row) -> dict[str, Any]:
    return {"id": f"batch_req_{row.number}", "row": row.number, "custom_id": row.fields["custom_id"]}


def _heading(row: Row) -> dict[str, Any]:
    return {"row": row.number, **{name: row.fields[name] for name in ("id", "custom_id") if name in row.fields}}
