"""The JSON schemas of requests, as `/openapi.json` tells them: what the readers of this room accept."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from llamacli.engine.params import sampling_fields

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_ANY_OBJECT: Schema = {"type": "object"}
_TOKENS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_MESSAGE: Schema = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"type": ["string", "null"]},
    },
    "required": ["role", "content"],
}
_MESSAGES: Schema = {"type": "array", "items": _MESSAGE, "minItems": 1}
_TOOL: Schema = {
    "type": "object",
    "properties": {
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "properties": {"name": _TEXT, "description": _TEXT, "parameters": _ANY_OBJECT},
            "required": ["name"],
        },
    },
    "required": ["type", "function"],
}


def _integer(low: int, high: int | None = None) -> Schema:
    return {"type": "integer", "minimum": low, **({"maximum": high} if high is not None else {})}


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _sampling() -> dict[str, Schema]:
    """The fields of sampling, from their declarations."""
    found: dict[str, Schema] = {}
    for name, one in sampling_fields().items():
        if get_origin(one.annotation) is Literal:
            schema: Schema = {"enum": list(get_args(one.annotation))}
        elif one.number is not None:
            schema = {"type": "integer" if one.number is int else "number"}
        elif isinstance(one.default, bool):
            schema = dict(_FLAG)
        elif name == "logit_bias":
            schema = {"type": ["object", "array"]}
        else:
            schema = {"type": "array", "items": _TEXT}
        found[name] = {**schema, "description": one.help}
    return found


def _completion(**more: Schema) -> dict[str, Schema]:
    """The fields that chats and texts share."""
    return {
        **_sampling(),
        "model": _TEXT,
        "max_tokens": _integer(-1),
        "stop": {"oneOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": 64}]},
        "n": _integer(1, 128),
        "stream": _FLAG,
        "stream_options": _object((), include_usage=_FLAG),
        "return_progress": _FLAG,
        "grammar": _TEXT,
        "json_schema": _ANY_OBJECT,
        "response_format": _ANY_OBJECT,
        "cache_prompt": _FLAG,
        "user": _TEXT,
        **more,
    }


def request_schemas() -> dict[str, Schema]:
    """Return the schema of each request's body by its path."""
    chat = _completion(
        messages=_MESSAGES,
        max_completion_tokens=_integer(-1),
        logprobs=_FLAG,
        top_logprobs=_integer(0, 1000),
        tools={"type": "array", "items": _TOOL},
        tool_choice={"type": ["string", "object"]},
        parallel_tool_calls=_FLAG,
        reasoning_effort={"enum": ["none", "minimal", "low", "medium", "high", "xhigh"]},
        chat_template_kwargs=_ANY_OBJECT,
        continue_final_message=_FLAG,
    )
    texts: Schema = {"oneOf": [_TEXT, _TOKENS, {"type": "array", "items": {"oneOf": [_TEXT, _TOKENS]}, "minItems": 1}]}
    text = _completion(
        prompt=texts, suffix=_TEXT, echo=_FLAG, best_of=_integer(1, 128), logprobs=_integer(0, 1000), n_probs=_integer(0, 1000),
        n_indent=_integer(0), t_max_predict_ms=_integer(-1),
    )  # fmt: skip
    alone: dict[str, Schema] = {**text, "prompt": {"oneOf": [_TEXT, _TOKENS]}, "n_predict": _integer(-1)}
    for name in ("max_tokens", "suffix", "echo", "best_of", "n", "logprobs", "stream_options", "return_progress"):
        del alone[name]
    count = _object(("model", "messages"), model=_TEXT, messages=_MESSAGES, system=_TEXT)
    return {
        "/v1/chat/completions": _object(("messages",), **chat),
        "/v1/completions": _object(("prompt",), **text),
        "/v1/responses": _object(
            ("input",), model=_TEXT, input={"type": ["string", "array"]}, instructions=_TEXT, max_output_tokens=_integer(-1),
            stream=_FLAG, store=_FLAG, previous_response_id=_TEXT, temperature={"type": "number"}, top_p={"type": "number"},
        ),
        "/v1/messages": _object(
            ("model", "messages", "max_tokens"), **count["properties"], max_tokens=_integer(0), stream=_FLAG,
            stop_sequences={"type": "array", "items": _TEXT}, temperature={"type": "number"},
        ),
        "/v1/messages/count_tokens": count,
        "/v1/embeddings": _object(
            ("input",), model=_TEXT, input=texts, encoding_format={"enum": ["float", "base64"]}, dimensions=_integer(1),
            user=_TEXT,
        ),
        "/v1/rerank": _object(
            ("query", "documents"), model=_TEXT, query=_TEXT, documents={"type": "array", "items": _TEXT}, top_n=_integer(1),
            return_documents=_FLAG,
        ),
        "/v1/tokenize": _object(
            ("content",), model=_TEXT, content=_TEXT, add_special=_FLAG, parse_special=_FLAG, with_pieces=_FLAG,
            add_special_tokens=_FLAG,
        ),
        "/v1/detokenize": _object(("tokens",), model=_TEXT, tokens=_TOKENS),
        "/v1/apply-template": _object(("messages",), model=_TEXT, messages=_MESSAGES),
        "/infill": _object(
            ("input_prefix", "input_suffix"), input_prefix=_TEXT, input_suffix=_TEXT, prompt=_TEXT, n_predict=_integer(-1),
            stream=_FLAG, input_extra={"type": "array", "items": _object(("text",), filename=_TEXT, text=_TEXT)},
            n_indent=_integer(0), t_max_predict_ms=_integer(-1), response_fields={"type": "array", "items": _TEXT},
        ),
        "/completion": _object(("prompt",), **alone, response_fields={"type": "array", "items": _TEXT}),
        "/embedding": _object(("content",), model=_TEXT, content=texts, embd_normalize=_integer(-1, 2)),
        "/v1/batches": _object(
            ("input_file_id", "endpoint"), input_file_id=_TEXT, endpoint=_TEXT, completion_window={"const": "24h"},
            metadata=_ANY_OBJECT,
        ),
    }  # fmt: skip
