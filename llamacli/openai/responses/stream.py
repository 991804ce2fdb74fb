"""A response as it grows: events of the engine in, the API's typed events out."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llamacli.engine.events import Answer, AnswerEvent, Delta, Failed, Piece, Token, ToolCallDelta, Usage
from llamacli.openai import response
from llamacli.openai.errors import Problem, problem_of
from llamacli.openai.responses.output import CallItem, MessageItem, OutputItem, ReasoningItem
from llamacli.openai.responses.request import ResponseRequest
from llamacli.openai.responses.store import Document, StoredResponse

_STATUS = {"stop": "completed", "length": "incomplete", "context": "incomplete", "cancelled": "failed"}
"""The status of a response by the finish reason of its answer."""


class ResponseStream:
    """The response to a request. `begin`, `feed` and `fail` return the events to send, in order.

    `response` is the document as it is now; after the last event it is the whole one. `keep` is called with what later requests
    may continue, unless the request forbids it, before the event that ends the response: the next request may come at once.
    """

    def __init__(self, request: ResponseRequest, *, model: str, keep: Callable[[StoredResponse], None] | None = None) -> None:
        self._request = request
        self._keep = keep
        self._id = secrets.token_hex(16)
        self._sequence = 0
        self._items: list[OutputItem] = []
        self._text: MessageItem | ReasoningItem | None = None  # the one that grows
        self._calls: dict[int, CallItem] = {}  # by the number of the call
        self._unclaimed: list[Token] = []  # tokens whose text is not certain yet
        self._reasoning_tokens = 0
        warnings = {"warnings": list(request.tools.warnings)} if request.tools.warnings else {}
        self._head: Document = {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "model": model,
            "store": request.store,
            "usage": None,
            **request.repeated,
            **warnings,
        }

    @property
    def response(self) -> Document:
        """The response with the items so far."""
        return {**self._head, "output": [item.document() for item in self._items]}

    def begin(self) -> list[Document]:
        """Return the first events."""
        return [self._event(f"response.{name}", response=self.response) for name in ("created", "in_progress")]

    def feed(self, event: AnswerEvent) -> list[Document]:
        """Return the events of an event of the engine; after `Answer` or `Failed` none follow."""
        if isinstance(event, Piece):
            if event.token is not None:
                self._unclaimed.append(event.token)
            return [found for delta in event.deltas for found in self._grow(delta)]
        if isinstance(event, Answer):
            return self._finish(event)
        return self.fail(problem_of(event.error)) if isinstance(event, Failed) else []

    def fail(self, problem: Problem) -> list[Document]:
        """Return the events that end a response that failed."""
        events = self._close("incomplete")
        code = "invalid_prompt" if problem.status == 400 else "rate_limit_exceeded" if problem.status == 429 else "server_error"
        self._head |= {"status": "failed", "error": {"code": code, "message": problem.message}}
        return [*events, self._event("response.failed", response=self.response)]

    def _finish(self, answer: Answer) -> list[Document]:
        status = _STATUS[answer.finish_reason]
        events = [] if self._items else self._text_item(MessageItem)  # an empty answer is an empty message
        if isinstance(self._text, MessageItem):
            events += self._placed(self._text, self._text.add("", self._claim()))
        events += self._close("completed" if status == "completed" else "incomplete")
        timings = response.timings(answer.timings, answer.usage)
        self._head |= {"status": status, "usage": self._usage(answer.usage), "timings": timings}
        if status == "completed":
            self._head["completed_at"] = int(time.time())
        elif status == "incomplete":
            self._head["incomplete_details"] = {"reason": "max_output_tokens"}
        else:
            self._head["error"] = {"code": "server_error", "message": "the answer was cancelled"}
        if self._keep is not None and self._request.store and status != "failed":
            conversation = (*self._request.conversation, answer.message())
            self._keep(StoredResponse(response=self.response, items=self._request.items, conversation=conversation))
        return [*events, self._event(f"response.{status}", response=self.response)]

    def _grow(self, delta: Delta) -> list[Document]:
        events: list[Document] = []
        if delta.reasoning_content:
            events += self._text_item(ReasoningItem)
            self._reasoning_tokens += len(self._claim())
            events += self._add(self._text, delta.reasoning_content)
        if delta.content:
            events += self._text_item(MessageItem)
            events += self._add(self._text, delta.content, self._claim())
        if delta.tool_call is not None:
            events += self._grow_call(delta.tool_call)
        return events

    def _grow_call(self, call: ToolCallDelta) -> list[Document]:
        self._claim()
        events: list[Document] = []
        if call.index not in self._calls:
            events += self._close_text("completed")
            origin = self._request.tools.origin(call.name)
            item = CallItem(f"fc_{self._id}_{call.index}", call_id=call.id, origin=origin)
            self._calls[call.index] = item
            events += self._append(item)
        return events + (self._add(self._calls[call.index], call.arguments) if call.arguments else [])

    def _text_item(self, kind: type[MessageItem | ReasoningItem]) -> list[Document]:
        """Make an item of text the open one. Return the events, if it was not."""
        if isinstance(self._text, kind):
            return []
        events = self._close_text("completed")
        number = len(self._items)
        if kind is MessageItem:
            self._text = MessageItem(f"msg_{self._id}_{number}", with_logprobs=self._request.includes_logprobs)
        else:
            self._text = ReasoningItem(f"rs_{self._id}_{number}", is_sealed=self._request.includes_encrypted)
        return events + self._append(self._text)

    def _append(self, item: OutputItem) -> list[Document]:
        self._items.append(item)
        added = {"type": "response.output_item.added", "item": item.document()}
        return self._placed(item, [added, *item.opening()])

    def _close(self, status: str) -> list[Document]:
        """Close all items. Calls stay open until the end, as their arguments may come late."""
        events = self._close_text(status)
        for call in self._calls.values():
            events += self._close_item(call, status)
        self._calls = {}
        return events

    def _close_text(self, status: str) -> list[Document]:
        item, self._text = self._text, None
        return self._close_item(item, status) if item is not None else []

    def _close_item(self, item: OutputItem, status: str) -> list[Document]:
        item.status = status
        closing = item.closing()
        return self._placed(item, [*closing, {"type": "response.output_item.done", "item": item.document()}])

    def _add(self, item: OutputItem | None, text: str, tokens: Sequence[Token] = ()) -> list[Document]:
        assert item is not None
        return self._placed(item, item.add(text, tokens))

    def _claim(self) -> list[Token]:
        """Return the tokens since the last delta, which are those of the next one."""
        tokens, self._unclaimed = self._unclaimed, []
        return tokens

    def _placed(self, item: OutputItem, events: Iterable[Document]) -> list[Document]:
        """Return events of an item with their place in the response."""
        place: Document = {"output_index": self._items.index(item)}
        named: Document = {"item_id": item.id, **place}
        return [self._event(**event, **(place if "item" in event else named)) for event in events]

    def _event(self, type: str, **more: Any) -> Document:  # noqa: A002 - its name in JSON
        event = {"type": type, "sequence_number": self._sequence, **more}
        self._sequence += 1
        return event

    def _usage(self, used: Usage) -> Document:
        return {
            "input_tokens": used.prompt_tokens,
            "input_tokens_details": {"cached_tokens": used.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": used.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": self._reasoning_tokens},
            "total_tokens": used.total_tokens,
        }
