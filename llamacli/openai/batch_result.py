"""From the answer of a row to its row of output."""

from __future__ import annotations

from typing import Any

from llamacli.engine.events import Answer
from llamacli.openai import response
from llamacli.openai.batch_request import ENDPOINTS, RowRequest
from llamacli.openai.batch_row import Row
from llamacli.openai.documents import Documents, tool_calls, totals
from llamacli.openai.response import Heading


def result(request: RowRequest, model: str, answer: Answer) -> dict[str, Any]:
    """Return the row of output for an answer: ours, or that of an OpenAI Batch file."""
    row, logprobs = request.row, request.params.logprobs is not None
    is_chat = ENDPOINTS[row.fields["url"]] if row.is_batch else not request.question.raw
    documents = Documents(heading=Heading(model, is_chat=is_chat), logprobs=logprobs)
    choice = documents.choice(answer)
    if row.is_batch:
        body = documents.heading.document([choice], usage=response.usage(answer.usage))
        replied = {"status_code": 200, "request_id": f"req-{row.number}", "body": body}
        return {**_batch_heading(row), "response": replied, "error": None}
    found: dict[str, Any] = {**_heading(row), "text": answer.content}
    if answer.reasoning_content:
        found["reasoning_content"] = answer.reasoning_content
    if answer.tool_calls:
        found["tool_calls"] = tool_calls(answer)
    return {
        **found,
        "finish_reason": choice["finish_reason"],
        **({"logprobs": choice["logprobs"]} if logprobs else {}),
        **totals([answer]),
    }


def failure(row: Row, error: Exception, answered: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the row of output for a row that failed. `answered` is that of its answer, if it has one."""
    kind = type(error).__name__.removesuffix("Error")
    if row.is_batch:
        reported = {"code": kind, "type": kind, "message": str(error)}  # OpenAI's have a code, ours a type
        return {**(answered or {**_batch_heading(row), "response": None}), "error": reported}
    return {**(answered or _heading(row)), "error": {"type": kind, "message": str(error)}}


def with_input(row: Row, outcome: dict[str, Any]) -> dict[str, Any]:
    """Return the row of output with the fields of the row of input, after what names the row."""
    heading = _batch_heading(row) if row.is_batch else _heading(row)
    return {**heading, "input": row.fields, **outcome}


def _batch_heading(row: Row) -> dict[str, Any]:
    return {"id": f"batch_req_{row.number}", "row": row.number, "custom_id": row.fields["custom_id"]}


def _heading(row: Row) -> dict[str, Any]:
    return {"row": row.number, **{name: row.fields[name] for name in ("id", "custom_id") if name in row.fields}}
