"""The documents of one request: OpenAI's `chat.completion`, `text_completion` and their chunks, with llama-server's timings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llamacli.engine.events import Answer, Delta, Piece, Timings, Usage
from llamacli.openai import response
from llamacli.openai.response import Document, Heading


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Maker of the documents of one request.

    `prompt` is its text if it is to be echoed; `offset` is its length in characters, from which the offsets of tokens count.
    `logprobs`: log probabilities are shown. `hides_reasoning` leaves it out. `passages` returns the passages of files in the
    prompt, marked as the answers cite them.
    """

    heading: Heading
    hides_reasoning: bool = False
    logprobs: bool = False
    prompt: str | None = None
    offset: int = 0
    role: Document = field(default_factory=lambda: {"role": "assistant", "content": ""})
    """The delta of the first chunk of a chat."""
    passages: Callable[[Sequence[Answer]], list[Document]] | None = None

    def completion(self, answers: Sequence[Answer]) -> Document:
        """Return the document of all answers to one prompt."""
        return self._headed([self.choice(answer) for answer in answers], **totals(answers), **self._passages(answers))

    def _passages(self, answers: Sequence[Answer]) -> Document:
        return {} if self.passages is None else {"passages": self.passages(answers)}

    def choice(self, answer: Answer) -> Document:
        """Return one choice of a whole document."""
        reason = response.finish_reason(answer)
        if not self.heading.is_chat:
            logprobs = self._text_logprobs(answer) if self.logprobs else None
            return response.text_choice(answer.index, (self.prompt or "") + answer.content, reason, logprobs)
        logprobs = response.chat_logprobs(answer.tokens) if self.logprobs else None
        return response.chat_choice(self._shown(answer), reason, logprobs)

    def _text_logprobs(self, answer: Answer) -> Document:
        """Log probabilities of an answer, and of the prompt before it if that was scored, without tokens that have no text."""
        scored = [token for token in answer.prompt if token.piece]
        offset = 0 if scored else self.offset or len(self.prompt or "")
        return response.text_logprobs((*scored, *answer.tokens), offset)

    def first_chunk(self, index: int) -> Document | None:
        """Return the chunk before any delta: in a chat the role, in a text the prompt that is echoed, None without one."""
        if self.heading.is_chat:
            return self._headed([response.chat_chunk(index, self.role)], chunk=True)
        return self._chunk(response.text_choice(index, self.prompt, None)) if self.prompt is not None else None

    def chunks(self, piece: Piece, offset: int = 0) -> Iterator[Document]:
        """Yield the chunks of a piece that comes after `offset` characters of text; log probabilities are in the first."""
        tokens = (piece.token,) if self.logprobs and piece.token is not None else ()
        for delta in piece.deltas or ((Delta(),) if tokens else ()):
            if not self.heading.is_chat:
                logprobs = response.text_logprobs(tokens, self.offset + offset) if tokens else None
                yield self._chunk(response.text_choice(piece.index, delta.content, None, logprobs))
            else:
                change = response.delta_json(self._shown_delta(delta))
                logprobs = response.chat_logprobs(tokens) if tokens else None
                if change or logprobs:
                    yield self._chunk(response.chat_chunk(piece.index, change, None, logprobs))
            offset += len(delta.content)
            tokens = ()

    def last_chunk(self, answer: Answer, **more: Any) -> Document:
        """Return the chunk that ends an answer. `more` are further keys, such as `totals`; those that are None are left out."""
        reason = response.finish_reason(answer)
        chat = self.heading.is_chat
        if chat:
            choice = response.chat_chunk(answer.index, {}, reason)
        else:
            scored = [token for token in answer.prompt if token.piece]  # of an echoed prompt; known at the end
            choice = response.text_choice(answer.index, "", reason, response.text_logprobs(scored) if scored else None)
        return self._chunk(choice, **more, **self._passages([answer]))

    def usage_chunk(self, usage: Usage) -> Document:
        """Return the last chunk of a stream whose usage was asked for: without choices."""
        return self.heading.document([], chunk=True, usage=response.usage(usage))

    def _shown(self, answer: Answer) -> Answer:
        return dataclasses.replace(answer, reasoning_content="") if self.hides_reasoning else answer

    def _shown_delta(self, delta: Delta) -> Delta:
        return dataclasses.replace(delta, reasoning_content="") if self.hides_reasoning else delta

    def _chunk(self, choice: Document, **more: Any) -> Document:
        return self.heading.document([choice], chunk=True, **more)

    def _headed(self, choices: Sequence[Document], *, chunk: bool = False, **more: Any) -> Document:
        """A document that echoes the prompt of a chat; that of a text is part of the text."""
        echoed = self.prompt if self.heading.is_chat else None
        return self.heading.document(choices, chunk=chunk, prompt=echoed, **more)


def tool_calls(answer: Answer) -> list[Document]:
    """Return the tool calls of an answer as OpenAI has them."""
    return [call.to_json() for call in answer.tool_calls]


def totals(answers: Sequence[Answer]) -> Document:
    """Return usage and timings of answers that shared one prompt: it counts once."""
    first = answers[0]
    if len(answers) == 1:
        return {"usage": response.usage(first.usage), "timings": response.timings(first.timings, first.usage)}
    usage = dataclasses.replace(first.usage, completion_tokens=sum(each.usage.completion_tokens for each in answers))
    timings = Timings(
        first.timings.prompt_n,
        first.timings.prompt_ms,
        sum(each.timings.predicted_n for each in answers),
        max(each.timings.predicted_ms for each in answers),
        sum(each.timings.draft_n for each in answers),
        sum(each.timings.draft_n_accepted for each in answers),
    )
    return {"usage": response.usage(usage), "timings": response.timings(timings, usage)}


def sums(answers: Sequence[Answer]) -> Document:
    """Return usage and timings of answers that followed each other, each to a prompt of its own: all of it counts."""
    usages, measured = [one.usage for one in answers], [one.timings for one in answers]
    usage = Usage(*(sum(getattr(one, field.name) for one in usages) for field in dataclasses.fields(Usage)))
    timings = Timings(*(sum(getattr(one, field.name) for one in measured) for field in dataclasses.fields(Timings)))
    return {"usage": response.usage(usage), "timings": response.timings(timings, usage)}
