"""The Messages API's answers: every document is what Anthropic's client expects, and it adds them up to the same whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answers import TIMINGS, answer_events
from anthropic._models import construct_type
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from client_models import check, event_models

from llamacli.engine.chat.message import ToolCall
from llamacli.engine.events import Answer, Delta, Failed, Piece, ToolCallDelta, Usage
from llamacli.engine.params import SamplingParams
from llamacli.errors import CancelledError, DecodeError, ModelNotFoundError, UsageError
from llamacli.openai.errors import Problem, problem_of
from llamacli.openai.messages.errors import error_document
from llamacli.openai.messages.request import MessagesRequest, count_document, read_request
from llamacli.openai.messages.stream import MessageStream
from llamacli.openai.seal import unseal

MODELS = event_models(RawMessageStreamEvent)
HIDDEN = {"thinking": {"type": "adaptive", "display": "omitted"}}


def request(**body: Any) -> MessagesRequest:
    given = {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **body}
    return read_request(given, SamplingParams())


def run(asked: MessagesRequest, *parts, **more) -> tuple[list[dict], MessageStream]:
    stream = MessageStream(asked, model="tiny", prompt_tokens=4)
    events = stream.begin()
    for event in answer_events(*parts, **more):
        events += stream.feed(event)
    return events, stream


def kinds(events: list[dict]) -> list[str]:
    return [event["type"] for event in events]


def added_up(events: list[dict]) -> dict:
    """The whole message as Anthropic's client puts it together; every event is checked on the way."""
    whole, buffers = None, {}
    for event in json.loads(json.dumps(events)):
        check(MODELS[event["type"]], event)
        built = construct_type(type_=RawMessageStreamEvent, value=event)
        whole = accumulate_event(event=built, current_snapshot=whole, json_bufs=buffers)
    return json.loads(whole.to_json())


LOOK = ToolCall("look", '{"place": "x"}', id="call_1")
CASES = {
    "text": ({}, ("Hel", "lo"), {}),
    "thinking": ({}, (("reasoning", "hm"), ("reasoning", "m"), "yes"), {}),
    "hidden thinking": (HIDDEN, (("reasoning", "hm"), "yes"), {}),
    "use": ({}, (LOOK,), {}),
    "uses": ({}, (("reasoning", "hm"), "I look.", LOOK, ToolCall("wait", "", id="call_2")), {}),
    "text after a use": ({}, (LOOK, "So."), {}),
    "empty": ({}, (), {}),
    "cut": ({}, ("Hel",), {"reason": "length"}),
    "stop sequence": ({"stop_sequences": ["END"]}, ("Hel",), {"stop_text": "END"}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_events_are_what_the_client_expects_and_make_the_same_whole(name: str) -> None:
    body, parts, more = CASES[name]
    events, stream = run(request(**body), *parts, **more)
    check(Message, json.loads(json.dumps(stream.message)))
    assert added_up(events) == stream.message
    starts = [event["index"] for event in events if event["type"] == "content_block_start"]
    stops = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert starts == stops == list(range(len(stream.message["content"])))


def test_the_order_of_thinking_text_and_a_use() -> None:
    events, stream = run(request(), ("reasoning", "hm"), "So.", LOOK)
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    delta = "content_block_delta"
    assert kinds(events) == [
        *("message_start", block[0], delta, delta, block[2]),  # the second is the signature
        *block,
        *(block[0], delta, delta, block[2], "message_delta", "message_stop"),
    ]
    assert [one["type"] for one in stream.message["content"]] == ["thinking", "text", "tool_use"]
    assert stream.message["content"][2] == {"type": "tool_use", "id": "call_1", "name": "look", "input": {"place": "x"}}


def test_cached_tokens_are_counted_apart() -> None:
    events, stream = run(request(), "Hi", cached=3)
    assert events[0]["message"]["usage"]["input_tokens"] == 4
    usage = stream.message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (1, 3, 1)


@pytest.mark.parametrize(
    ("parts", "more", "reason", "sequence"),
    [
        (("Hi",), {}, "end_turn", None),
        (("Hi",), {"reason": "length"}, "max_tokens", None),
        (("Hi",), {"reason": "context"}, "model_context_window_exceeded", None),
        (("Hi",), {"stop_text": "END"}, "stop_sequence", "END"),
        (("Hi",), {"stop_text": "<end>"}, "end_turn", None),  # the template's own
        ((LOOK,), {}, "tool_use", None),
        ((LOOK,), {"reason": "length"}, "max_tokens", None),
    ],
)
def test_the_stop_reason_says_how_the_answer_ended(parts: Any, more: Any, reason: str, sequence: str | None) -> None:
    _, stream = run(request(stop_sequences=["END"]), *parts, **more)
    assert (stream.message["stop_reason"], stream.message["stop_sequence"]) == (reason, sequence)


def test_hidden_thinking_is_handed_out_as_opaque_text() -> None:
    events, stream = run(request(**HIDDEN), ("reasoning", "hm"), "yes")
    block = stream.message["content"][0]
    assert (block["thinking"], unseal(block["signature"])) == ("", "hm")
    assert not any(event.get("delta", {}).get("type") == "thinking_delta" for event in events)


def test_a_use_that_was_cut_is_in_the_stream_but_not_in_the_message() -> None:
    events, stream = run(request(), "I look.", ToolCall("look", '{"pla', id="call_1"), reason="length")
    assert [block["type"] for block in stream.message["content"]] == ["text"]
    parts = [event["delta"]["partial_json"] for event in events if event.get("delta", {}).get("type") == "input_json_delta"]
    assert "".join(parts) == '{"pla'


def test_blocks_do_not_overlap_when_arguments_come_late() -> None:
    stream = MessageStream(request(), model="tiny", prompt_tokens=1)
    first, second = (ToolCallDelta(index, f"call_{index}", "look", "") for index in range(2))
    events = stream.begin()
    for call in (first, second, ToolCallDelta(1, "", "", '{"b": 2}'), ToolCallDelta(0, "", "", '{"a": 1}')):
        events += stream.feed(Piece(0, (Delta(tool_call=call),)))
    events += stream.feed(Answer(finish_reason="stop", usage=Usage(1, 4), timings=TIMINGS))
    assert added_up(events) == stream.message
    assert [block["input"] for block in stream.message["content"]] == [{"a": 1}, {"b": 2}]
    places = [event["index"] for event in events if "index" in event]
    assert places == sorted(places)


def test_an_error_ends_the_stream_as_the_client_expects() -> None:
    stream = MessageStream(request(), model="tiny", prompt_tokens=1)
    assert stream.feed(Failed(0, DecodeError("no"))) == [error_document(problem_of(DecodeError("no")))]
    assert stream.problem is not None
    _, cancelled = run(request(), "Hi", reason="cancelled")
    assert cancelled.problem is not None
    assert cancelled.problem.status == 503


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (problem_of(UsageError("bad")), "invalid_request_error"),
        (problem_of(ModelNotFoundError("none")), "not_found_error"),
        (problem_of(CancelledError("gone")), "overloaded_error"),
        (problem_of(ValueError("bug")), "api_error"),
        (Problem(status=401, message="no key"), "authentication_error"),
        (Problem(status=429, message="slow"), "rate_limit_error"),
        (Problem(status=422, message="odd"), "invalid_request_error"),
    ],
)
def test_errors_have_the_types_of_the_client(problem: Problem, kind: str) -> None:
    document = error_document(problem, "req_1")
    assert document["error"]["type"] == kind
    check(ErrorResponse, document)


def test_a_count_is_what_the_client_expects() -> None:
    check(MessageTokensCount, count_document(7))
