"""The Responses API's answers: every document is what OpenAI's client expects, and it adds them up to the same whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answers import answer_events
from client_models import check, event_models
from openai import omit
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent

from llamacli.engine.chat.message import Message, ToolCall
from llamacli.engine.events import Failed
from llamacli.engine.params import SamplingParams
from llamacli.errors import DecodeError, UsageError
from llamacli.openai.errors import problem_of
from llamacli.openai.responses.request import ResponseRequest, read_request
from llamacli.openai.responses.store import ResponseStore, StoredResponse, items_document
from llamacli.openai.responses.stream import ResponseStream

MODELS = event_models(ResponseStreamEvent)
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}
GIT = {"type": "namespace", "name": "mcp__git__", "description": "Git.", "tools": [{"type": "function", "name": "log"}]}
PATCH = {"type": "custom", "name": "patch", "description": "Changes a file."}
ALL = {"include": ["message.output_text.logprobs", "reasoning.encrypted_content"], "top_logprobs": 2}


def request(store: ResponseStore | None = None, **body: Any) -> ResponseRequest:
    return read_request({"input": "Hi", **body}, SamplingParams(), store or ResponseStore())


def run(asked: ResponseRequest, *parts, keep=None, **more) -> tuple[list[dict], ResponseStream]:
    stream = ResponseStream(asked, model="tiny", keep=keep)
    events = stream.begin()
    for event in answer_events(*parts, **more):
        events += stream.feed(event)
    return events, stream


def kinds(events: list[dict]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def checked(events: list[dict]) -> Any:
    """The whole response as OpenAI's client puts it together; every event is checked on the way."""
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in json.loads(json.dumps(events)):
        check(MODELS[event["type"]], event)
        state.handle_event(construct_type(type_=ResponseStreamEvent, value=event))
    return state


CASES = {
    "text": ({}, ("Hel", "lo"), {}),
    "logprobs": (ALL, ("Hel", "", "lo"), {}),
    "reasoning": (ALL, (("reasoning", "hm"), ("reasoning", "m"), "yes"), {}),
    "call": ({"tools": [LOOK]}, (ToolCall("look", '{"place": "x"}', id="call_1"),), {}),
    "calls": (
        {"tools": [LOOK, GIT, PATCH]},
        (
            ("reasoning", "hm"),
            "I look.",
            ToolCall("look", "", id="call_1"),
            ToolCall("mcp__git__log", "{}", id="call_2"),
            ToolCall("patch", '{"input": "*** \\n+ä"}', id="call_3"),
        ),
        {},
    ),
    "empty": ({}, (), {}),
    "cut": ({"max_output_tokens": 1}, ("Hel",), {"reason": "length"}),
    "cut reasoning": ({}, (("reasoning", "hm"),), {"reason": "context"}),
    "cut call": ({"tools": [PATCH]}, (ToolCall("patch", '{"input": "*', id="call_1"),), {"reason": "length"}),
    "cancelled": ({}, ("Hel",), {"reason": "cancelled"}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_events_are_what_the_client_expects_and_make_the_same_whole(name: str) -> None:
    body, parts, more = CASES[name]
    events, stream = run(request(**body), *parts, **more)
    state = checked(events)
    response = check(Response, json.loads(json.dumps(stream.response)))
    assert events[-1]["response"] == stream.response
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == stream.response["output"]
    texts = [part for part in parts if isinstance(part, str)]
    assert response.output_text == "".join(texts)
    if stream.response["status"] == "completed":
        assert state._completed_response.output_text == response.output_text


def test_the_order_of_a_text() -> None:
    events, stream = run(request(), "Hel", "lo")
    assert kinds(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert stream.response["status"] == "completed"
    usage = stream.response["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (4, 2, 6)
    assert usage["input_tokens_details"]["cached_tokens"] == 2


def test_the_order_of_reasoning_text_and_calls() -> None:
    events, stream = run(request(tools=[LOOK]), ("reasoning", "hm"), "So.", ToolCall("look", '{"a":1}', id="call_1"))
    assert kinds(events)[2:] == [
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done"),
        *("output_item.done", "output_item.added", "content_part.added", "output_text.delta", "output_text.done"),
        *("content_part.done", "output_item.done", "output_item.added", "function_call_arguments.delta"),
        *("function_call_arguments.delta", "function_call_arguments.done", "output_item.done", "completed"),
    ]
    assert [item["type"] for item in stream.response["output"]] == ["reasoning", "message", "function_call"]
    assert stream.response["usage"]["output_tokens_details"]["reasoning_tokens"] == 1


def test_calls_come_back_under_the_names_they_were_declared_with() -> None:
    body, parts, _ = CASES["calls"]
    _, stream = run(request(**body), *parts)
    look, log, patch = stream.response["output"][2:]
    assert (look["type"], look["name"], look["arguments"], look["call_id"]) == ("function_call", "look", "{}", "call_1")
    assert (log["name"], log["namespace"]) == ("log", "mcp__git__")
    assert (patch["type"], patch["name"], patch["input"]) == ("custom_tool_call", "patch", "*** \n+ä")


def test_log_probabilities_are_those_of_the_text() -> None:
    events, stream = run(request(**ALL), ("reasoning", "hm"), "Hel", "", "lo")
    logprobs = stream.response["output"][1]["content"][0]["logprobs"]
    assert [entry["token"] for entry in logprobs] == ["Hel", "", "lo"]
    assert logprobs[0]["top_logprobs"][1] == {"token": "�", "id": 99, "logprob": -1.5, "bytes": [255]}
    deltas = [event["logprobs"] for event in events if event["type"] == "response.output_text.delta"]
    assert [entry for delta in deltas for entry in delta] == logprobs


@pytest.mark.parametrize(
    ("reason", "status", "item", "details"),
    [
        ("stop", "completed", "completed", None),
        ("length", "incomplete", "incomplete", {"reason": "max_output_tokens"}),
        ("context", "incomplete", "incomplete", {"reason": "max_output_tokens"}),
        ("cancelled", "failed", "incomplete", None),
    ],
)
def test_the_status_says_how_the_answer_ended(reason: Any, status: str, item: str, details: Any) -> None:
    events, stream = run(request(), "Hel", reason=reason)
    assert events[-1]["type"] == f"response.{status}"
    assert stream.response["status"] == status
    assert stream.response["output"][0]["status"] == item
    assert stream.response["incomplete_details"] == details
    assert (stream.response["error"] is not None) is (status == "failed")


@pytest.mark.parametrize(("error", "code"), [(DecodeError("no"), "server_error"), (UsageError("bad"), "invalid_prompt")])
def test_an_error_ends_the_stream_as_the_client_expects(error: Exception, code: str) -> None:
    stream = ResponseStream(request(), model="tiny")
    events = stream.begin()
    for event in [*answer_events("Hel")][:2]:
        events += stream.feed(event)
    events += stream.feed(Failed(0, error)) if code == "server_error" else stream.fail(problem_of(error))
    for event in events:
        check(MODELS[event["type"]], event)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == code
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"


def test_what_the_model_is_not_offered_is_named_in_the_response() -> None:
    asked = request(tools=[LOOK, {"type": "web_search", "search_context_size": "low"}])
    _, stream = run(asked, "Hi")
    assert stream.response["warnings"] == ["tools[1]: web_search runs at OpenAI only, so the model is not offered it"]
    assert [tool["type"] for tool in stream.response["tools"]] == ["function"]


def test_a_stored_response_is_continued_with_its_answer_but_without_its_instructions() -> None:
    store = ResponseStore()
    first = request(store, tools=[LOOK], instructions="Be brief.")
    _, stream = run(first, ("reasoning", "hm"), ToolCall("look", "{}", id="call_1"), keep=lambda stored: store.put("", stored))
    output = {"type": "function_call_output", "call_id": "call_1", "output": "seen"}
    second = request(store, previous_response_id=stream.response["id"], input=[output], tools=[LOOK])
    assert second.question.conversation == (
        Message("user", "Hi"),
        Message("assistant", "", (ToolCall("look", "{}", id="call_1"),), reasoning_content="hm"),
        Message("tool", "seen", tool_call_id="call_1", name="look"),
    )
    with pytest.raises(UsageError) as caught:
        read_request({"input": "Hi", "previous_response_id": stream.response["id"]}, SamplingParams(), store, owner="other")
    assert caught.value.parameter == "previous_response_id"


def kept(**body: Any) -> StoredResponse:
    """What is kept of an answer."""
    found: list[StoredResponse] = []
    run(request(**body), "Hi", keep=found.append)
    return found[0]


def test_a_response_is_kept_before_the_event_that_ends_it_and_only_if_it_may() -> None:
    found: list[StoredResponse] = []
    stream = ResponseStream(request(), model="tiny", keep=found.append)
    for event in answer_events("Hi"):
        assert found == []
        last = stream.feed(event)
    assert [stored.response for stored in found] == [last[-1]["response"]]
    found.clear()
    run(read_request({"input": "Hi", "store": False}, SamplingParams(), ResponseStore()), "Hi", keep=found.append)
    run(request(), "Hi", reason="cancelled", keep=found.append)
    assert found == []


def test_the_store_has_bounds_and_forgets_what_was_used_least_recently() -> None:
    store = ResponseStore(most=2)
    first, second, third = kept(), kept(), kept()
    store.put("", first)
    store.put("", second)
    assert store.find("", first.id) is first
    store.put("", third)
    assert [store.find("", one.id) is not None for one in (first, second, third)] == [True, False, True]
    assert store.remove("", first.id)
    assert not store.remove("", first.id)
    assert len(store) == 1
    small = ResponseStore(most_bytes=100)
    small.put("", first)
    assert len(small) == 0
    tight = ResponseStore(most_bytes=len(json.dumps([first.response, first.items])) + 10)
    for stored in (first, second, third):
        tight.put("", stored)
    assert len(tight) == 1


def test_input_items_are_listed_in_pages() -> None:
    asked = request(input=[{"role": "user", "content": f"{number}"} for number in range(3)])
    found: list[StoredResponse] = []
    run(asked, "Hi", keep=found.append)
    page = items_document(found[0], limit=2)
    check(ResponseItemList, page)
    assert [item["content"][0]["text"] for item in page["data"]] == ["2", "1"]
    assert page["has_more"]
    rest = items_document(found[0], limit=2, after=page["last_id"])
    assert [item["content"][0]["text"] for item in rest["data"]] == ["0"]
    assert not rest["has_more"]
