"""Prompts as tokens. User text is plain: only the chat template's own text may become control tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.errors import ModelUnsupportedError

if TYPE_CHECKING:
    from llamacli.engine.runtime.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt: `text` for people, `tokens` for the model. `stops` are the stop texts of the chat template."""

    text: str
    tokens: tuple[int, ...]
    stops: tuple[str, ...] = ()
    preserved: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a rendered prompt; `is_input` if it came from a message and not from the template."""

    text: str
    is_input: bool


def plain_prompt(vocabulary: Vocabulary, text: str, *, special: bool = False) -> Prompt:
    """Return the text as it is, after the model's BOS token if it wants one. `special` recognizes control tokens in it.

    Raises:
        ModelUnsupportedError: if the vocabulary has no token for it.
    """
    tokens = vocabulary.tokenize(text, special=special, add_special=True)
    if vocabulary.bos >= 0 and tokens[:2] == [vocabulary.bos] * 2:  # one is the text's own
        del tokens[0]
    return _with_tokens(Prompt(text, tuple(tokens) or _begin(vocabulary)))


def rendered_prompt(vocabulary: Vocabulary, parts: Sequence[Part], stops: tuple[str, ...] = ()) -> Prompt:
    """Return the tokens of a rendered chat template.

    The whole text is tokenized at once, as in training, unless input would become control tokens: then the control tokens of
    the template are found first, and the text between them is plain.

    Raises:
        ModelUnsupportedError: if the vocabulary has no token for it.
    """
    text = "".join(part.text for part in parts)
    tokens = vocabulary.tokenize(text, special=True)
    own = sum(_controls(vocabulary, vocabulary.tokenize(part.text, special=True)) for part in parts if not part.is_input)
    if _controls(vocabulary, tokens) != own:
        tokens = _apart(vocabulary, parts)
    if vocabulary.add_bos and vocabulary.bos >= 0 and tokens[:1] != [vocabulary.bos]:
        tokens.insert(0, vocabulary.bos)
    return _with_tokens(Prompt(text, tuple(tokens), stops))


def _apart(vocabulary: Vocabulary, parts: Sequence[Part]) -> list[int]:
    """The tokens of parts whose input looks like control tokens: only the template's own text becomes control tokens."""
    tokens: list[int] = []
    text = ""
    for part in parts:
        rest = part.text
        for token in () if part.is_input else vocabulary.tokenize(part.text, special=True):
            mark = vocabulary.special_piece(token).decode("utf-8", "replace")
            if vocabulary.is_control(token) and mark in rest:
                before, _, rest = rest.partition(mark)
                tokens += [*vocabulary.tokenize(text + before), token]
                text = ""
        text += rest
    return tokens + vocabulary.tokenize(text)


def _controls(vocabulary: Vocabulary, tokens: list[int]) -> int:
    return sum(map(vocabulary.is_control, tokens))


def _begin(vocabulary: Vocabulary) -> tuple[int, ...]:
    return (vocabulary.bos,) if vocabulary.bos >= 0 else ()


def _with_tokens(prompt: Prompt) -> Prompt:
    if prompt.text.strip() and not prompt.tokens:
        raise ModelUnsupportedError("the model's vocabulary has no token for the prompt", hint="the file may be damaged")
    return prompt
