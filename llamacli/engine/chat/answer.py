"""Reading an answer while it grows: what of it is content, reasoning, or the call of a tool."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.template import Answer, AnswerParser, ChatTemplate, Delta, Rendering
from llamacli.engine.chat.turn import Turn, turn_prompt
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import UsageError


def answer_tokens(
    vocabulary: Vocabulary, template: ChatTemplate, turn: Turn, messages: Sequence[Message], rendering: Rendering
) -> tuple[int, ...]:
    """The tokens with which the answer to `turn` begins if it is to go on from the last of `messages`.

    Raises:
        UsageError: what the template makes of such a beginning would not be read as the same answer.
        TemplateError: the template refuses the messages.
    """
    plain = tuple(vocabulary.tokenize(messages[-1].text))
    formatted = _formatted(vocabulary, template, turn, messages, rendering) if turn.answer_format is not None else plain
    for tokens in (formatted, plain):
        if _reads_as(vocabulary, turn, tokens, messages[-1]):
            return tokens
    raise UsageError("the chat template of this model cannot go on with an answer from its text alone")


def _formatted(
    vocabulary: Vocabulary, template: ChatTemplate, turn: Turn, messages: Sequence[Message], rendering: Rendering
) -> tuple[int, ...]:
    """What llama.cpp puts behind the prompt for an answer that has begun; nothing where it changes the prompt, too."""
    rendered = template.render(messages, dataclasses.replace(rendering, continue_final_message="auto"))
    longer = turn_prompt(vocabulary, rendered, keeps_marks=False)
    length = len(turn.prompt.tokens)
    if longer.tokens[:length] == turn.prompt.tokens:
        return longer.tokens[length:]
    pairs = enumerate(zip(turn.prompt.text, longer.text, strict=False))
    common = next((place for place, (ours, theirs) in pairs if ours != theirs), len(turn.prompt.text))
    if turn.prompt.text[common:].strip():
        return ()
    tokens, rest = [], longer.text[common:]
    for text in filter(None, (messages[-1].reasoning_content, messages[-1].text)):
        mark, found, after = rest.partition(text)
        if found:
            tokens += [*vocabulary.tokenize(mark, special=True), *vocabulary.tokenize(text)]
            rest = after
    return tuple(tokens)


def _reads_as(vocabulary: Vocabulary, turn: Turn, tokens: tuple[int, ...], message: Message) -> bool:
    """Whether an answer of these tokens would be taken for the message."""
    with AnswerReader(turn) as reader:
        reader.feed(vocabulary.detokenize(list(tokens), special=True).decode("utf-8", "replace"))
        read, _ = reader.finish(complete=False)
    same_thoughts = read.reasoning_content.strip() == (message.reasoning_content or "").strip()
    return same_thoughts and read.content.strip() == message.text.strip()


class AnswerReader:
    """Takes the text of one answer to `turn` and tells what is new in it. Every tool call gets an id, as OpenAI's have."""

    def __init__(self, turn: Turn) -> None:
        self._parser = AnswerParser(turn.answer_format) if turn.answer_format is not None else None
        self._is_held = turn.is_held
        self._trimming = self._parser is not None  # what stands between thinking and content belongs to neither
        self._content: list[str] = []
        self._ids: dict[int, str] = {}

    def feed(self, text: str) -> tuple[Delta, ...]:
        """Adds text to the answer: what became certain with it, often nothing."""
        if not text:
            return ()
        if self._parser is None:
            self._content.append(text)
            return (Delta(text),)
        return self._shaped(self._parser.feed(text))

    def finish(self, *, complete: bool) -> tuple[Answer, tuple[Delta, ...]]:
        """The whole answer, and what was not yet in the deltas. `complete` is False when it was cut off."""
        if self._parser is None:
            return Answer("".join(self._content)), ()
        answer, deltas = self._parser.finish(complete=complete and not self._is_held)
        deltas = self._shaped(deltas)
        content = answer.content.lstrip()
        calls = tuple(dataclasses.replace(call, id=self._id(i, call.id)) for i, call in enumerate(answer.tool_calls))
        return dataclasses.replace(answer, content=content, tool_calls=calls), deltas

    def _shaped(self, deltas: tuple[Delta, ...]) -> tuple[Delta, ...]:
        shaped = []
        for delta in deltas:
            call = delta.tool_call
            if call is not None and call.name:
                call = dataclasses.replace(call, id=self._id(call.index, call.id))
            content = delta.content
            if self._trimming and content:
                content = content.lstrip()
                self._trimming = not content
            if content or delta.reasoning_content or call is not None:
                shaped.append(Delta(content, delta.reasoning_content, call))
        return tuple(shaped)

    def _id(self, index: int, given: str | None) -> str:
        if index not in self._ids:
            self._ids[index] = given or f"call_{secrets.token_hex(12)}"
        return self._ids[index]

    def close(self) -> None:
        """Frees the parser."""
        if self._parser is not None:
            self._parser.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
