"""Continuation of an answer from its text: the tokens with which it starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from llamacli.engine.chat.answers.reader import AnswerReader
from llamacli.engine.chat.chat_turn import turn_prompt
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.prompt import Expand
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.chat.turn import Turn
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import UsageError


def answer_tokens(
    vocabulary: Vocabulary,
    template: ChatTemplate,
    turn: Turn,
    messages: Sequence[Message],
    rendering: Rendering,
    expand: Expand | None = None,
) -> tuple[int, ...]:
    """Return the tokens with which the answer to `turn` starts so that it continues the last of `messages`.

    Raises:
        UsageError: if the answer that starts so would be parsed as another one.
        TemplateError: if the template refuses the messages.
    """
    plain = tuple(vocabulary.tokenize(messages[-1].text))
    formatted = plain
    if turn.answer_format is not None:
        formatted = _formatted(vocabulary, template, turn, messages, rendering, expand)
    for tokens in (formatted, plain):
        if _reads_as(vocabulary, turn, tokens, messages[-1]):
            return tokens
    raise UsageError("this chat template cannot continue an answer from its text alone")


def check_start(messages: Sequence[Message]) -> Message:
    """Return the last message, which must be the start of an answer. Raises UsageError if it is not."""
    if not messages or messages[-1].role != "assistant" or messages[-1].tool_calls:
        raise UsageError(
            "only an assistant message without tool calls can be continued, and the last message is none",
            parameter="continue_final_message",
        )
    return messages[-1]


def _formatted(
    vocabulary: Vocabulary,
    template: ChatTemplate,
    turn: Turn,
    messages: Sequence[Message],
    rendering: Rendering,
    expand: Expand | None,
) -> tuple[int, ...]:
    """Return what llama.cpp appends to the prompt for a started answer; nothing if it changes the prompt as well."""
    rendered = template.render(messages, dataclasses.replace(rendering, continue_final_message="auto"))
    longer = turn_prompt(vocabulary, rendered, keeps_marks=False, expand=expand)
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
    """Return whether an answer of these tokens is parsed as the message."""
    with AnswerReader(turn) as reader:
        reader.feed(vocabulary.detokenize(list(tokens), special=True).decode("utf-8", "replace"))
        read, _ = reader.finish(complete=False)
    same_thoughts = read.reasoning_content.strip() == (message.reasoning_content or "").strip()
    return same_thoughts and read.content.strip() == message.text.strip()
