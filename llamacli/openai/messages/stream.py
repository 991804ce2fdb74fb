"""A message as it grows: events of the engine in, the API's events out."""

from __future__ import annotations

import secrets
from typing import Any

from llamacli.engine.events import Answer, AnswerEvent, Delta, Failed, Piece, ToolCallDelta, Usage
from llamacli.openai.errors import SERVER, Problem, problem_of
from llamacli.openai.messages.errors import error_document
from llamacli.openai.messages.output import Block, ThinkingBlock, ToolUseBlock, text_block
from llamacli.openai.messages.request import MessagesRequest

Document = dict[str, Any]

PING: Document = {"type": "ping"}
"""The event that keeps a connection alive."""

_CANCELLED = Problem(status=503, message="the answer was cancelled", type=SERVER, code="cancelled")


class MessageStream:
    """The message that answers a request. `begin`, `feed` and `fail` return the events to send, in order.

    Blocks come one after the other. `message` is the document as it is now; after the last event it is the whole one. `problem`
    says why there is none. `prompt_tokens` is the length of the prompt, which clients want to know at once.
    """

    def __init__(self, request: MessagesRequest, *, model: str, prompt_tokens: int) -> None:
        self._request = request
        self._blocks: list[Block] = []
        self._ended = 0  # blocks that ended
        self._uses: dict[int, ToolUseBlock] = {}  # by the number of the call
        self._is_cut = False
        self.problem: Problem | None = None
        self._head: Document = {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": _usage(Usage(prompt_tokens, 0)),
        }

    @property
    def message(self) -> Document:
        """The message with the blocks so far. A use of a tool that was cut is not in it, so that nobody runs it."""
        blocks = [
            block for block in self._blocks if not (self._is_cut and isinstance(block, ToolUseBlock) and block.input is None)
        ]
        return {**self._head, "content": [block.document() for block in blocks]}

    def begin(self) -> list[Document]:
        """Return the first event."""
        return [{"type": "message_start", "message": self.message}]

    def feed(self, event: AnswerEvent) -> list[Document]:
        """Return the events of an event of the engine; after `Answer` or `Failed` none follow."""
        if isinstance(event, Piece):
            return [found for delta in event.deltas for found in self._grow(delta)]
        if isinstance(event, Answer):
            return self._finish(event)
        return self.fail(problem_of(event.error)) if isinstance(event, Failed) else []

    def fail(self, problem: Problem) -> list[Document]:
        """Return the event that ends a message that failed."""
        self.problem = problem
        return [error_document(problem)]

    def _finish(self, answer: Answer) -> list[Document]:
        if answer.finish_reason == "cancelled":
            return self.fail(_CANCELLED)
        self._is_cut = answer.finish_reason != "stop"
        events = self._end(len(self._blocks))
        reason, stop = self._stop_reason(answer)
        ending = {"stop_reason": reason, "stop_sequence": stop}
        self._head |= {**ending, "usage": _usage(answer.usage)}
        return [*events, {"type": "message_delta", "delta": ending, "usage": self._head["usage"]}, {"type": "message_stop"}]

    def _stop_reason(self, answer: Answer) -> tuple[str, str | None]:
        """Return why the answer ended, and the stop sequence that ended it: a template has some of its own."""
        if answer.finish_reason == "length":
            return "max_tokens", None
        if answer.finish_reason == "context":
            return "model_context_window_exceeded", None
        if self._uses:
            return "tool_use", None
        stop = answer.stop_text if answer.stop_text in self._request.generation.params.stop else None
        return "end_turn" if stop is None else "stop_sequence", stop

    def _grow(self, delta: Delta) -> list[Document]:
        events: list[Document] = []
        if delta.reasoning_content:
            events += self._grow_text(delta.reasoning_content, "thinking")
        if delta.content:
            events += self._grow_text(delta.content, "text")
        if delta.tool_call is not None:
            events += self._grow_use(delta.tool_call)
        return events

    def _grow_text(self, text: str, kind: str) -> list[Document]:
        events: list[Document] = []
        if not self._blocks or self._blocks[-1].kind != kind:
            events += self._end(len(self._blocks))
            hidden = self._request.hides_thinking
            self._blocks.append(text_block() if kind == "text" else ThinkingBlock(is_hidden=hidden))
        self._blocks[-1].growing += text
        return events + self._blocks[-1].send(self._ended)

    def _grow_use(self, call: ToolCallDelta) -> list[Document]:
        events: list[Document] = []
        if call.index not in self._uses:
            if not isinstance(self._blocks[-1] if self._blocks else None, ToolUseBlock):
                events += self._end(len(self._blocks))
            self._uses[call.index] = ToolUseBlock(call)
            self._blocks.append(self._uses[call.index])
        self._uses[call.index].growing += call.arguments
        # Blocks may not overlap, but the arguments of an earlier call may come last: later ones wait until it is whole.
        while self._ended < len(self._blocks) - 1 and self._is_whole(self._blocks[self._ended]):
            events += self._end(self._ended + 1)
        return events + self._blocks[self._ended].send(self._ended)

    @staticmethod
    def _is_whole(block: Block) -> bool:
        return isinstance(block, ToolUseBlock) and block.input is not None

    def _end(self, count: int) -> list[Document]:
        """End the first `count` blocks that have not ended."""
        events: list[Document] = []
        for place in range(self._ended, count):
            events += self._blocks[place].end(place)
        self._ended = count
        return events


def _usage(used: Usage) -> Document:
    """Return token counts: those of the prompt that were in the cache are counted apart."""
    return {
        "input_tokens": used.prompt_tokens - used.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": used.cached_tokens,
        "output_tokens": used.completion_tokens,
    }
