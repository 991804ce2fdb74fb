"""From a row of output to the cells of a table: our results, and those of OpenAI Batch files."""

from __future__ import annotations

from typing import Any

OWN_COLUMNS = (
    "row", "id", "custom_id", "text", "reasoning_content", "tool_calls", "logprobs", "finish_reason", "prompt_tokens",
    "completion_tokens", "error",
)  # fmt: skip
"""The columns of a result, in their order in a table."""

COUNTS = ("row", "prompt_tokens", "completion_tokens")
"""Those that are whole numbers."""

ALWAYS = ("row", "text", "finish_reason", "prompt_tokens", "completion_tokens", "error")
"""Those that every table has."""


def cells(result: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a result by column, without those that it lacks. An error is its message."""
    answer = _batch_answer(result.get("response")) if "response" in result else result
    usage, error = answer.get("usage"), result.get("error")
    found = {
        **{name: result.get(name) for name in ("row", "id", "custom_id")},
        **{name: answer.get(name) for name in ("text", "reasoning_content", "tool_calls", "logprobs", "finish_reason")},
        **({name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")} if isinstance(usage, dict) else {}),
        "error": error.get("message") if isinstance(error, dict) else error,
    }
    if "response" in result:
        found["id"] = None  # made of the row's number
    return {name: value for name, value in found.items() if value is not None}


def _batch_answer(response: Any) -> dict[str, Any]:
    """The choice in the response of an OpenAI Batch file, with its text and usage."""
    body = response.get("body") if isinstance(response, dict) else None
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return {}
    message = choices[0].get("message")
    message = message if isinstance(message, dict) else {}
    return {**message, "text": message.get("content"), **choices[0], "usage": body.get("usage")}
