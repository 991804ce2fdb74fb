"""Prompts as tokens. User text is plain: only the chat template's own text may become control tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from llamacli.engine.media.media import Media
from llamacli.errors import ModelUnsupportedError
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.engine.runtime.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt: `text` for people, `tokens` for the model. `stops` are the stop texts of the chat template.

    `media` are the pictures and sounds, each with the index of the first of the tokens and placeholders that stand for it.
    """

    text: str
    tokens: tuple[int, ...]
    stops: tuple[str, ...] = ()
    preserved: frozenset[int] = frozenset()
    media: tuple[tuple[int, Media], ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a rendered prompt; `is_input` if it came from a message and not from the template.

    The text of a picture or sound is for people only.
    """

    text: str
    is_input: bool
    media: Media | None = None


Expand = Callable[[Media], Sequence[int]]
"""Returns the tokens and placeholders that stand for a picture or a sound."""


def plain_prompt(vocabulary: Vocabulary, text: str, *, special: bool = False) -> Prompt:
    """Return the text as it is, after the model's BOS token if it wants one. `special` recognizes control tokens in it.

    Raises:
        ModelUnsupportedError: if the vocabulary has no token for it.
    """
    tokens = vocabulary.tokenize(text, special=special, add_special=True)
    if vocabulary.bos >= 0 and tokens[:2] == [vocabulary.bos] * 2:  # one is the text's own
        del tokens[0]
    return _with_tokens(Prompt(text, tuple(tokens) or _begin(vocabulary)))


def rendered_prompt(
    vocabulary: Vocabulary, parts: Sequence[Part], stops: tuple[str, ...] = (), expand: Expand | None = None
) -> Prompt:
    """Return the tokens of a rendered chat template. `expand` is needed for pictures and sounds among the parts.

    The whole text is tokenized at once, as in training, unless input would become control tokens: then the control tokens of
    the template are found first, and the text between them is plain. Pictures and sounds divide the text.

    Raises:
        ModelUnsupportedError: if the vocabulary has no token for it.
    """
    tokens: list[int] = []
    places: list[tuple[int, Media]] = []
    text: list[Part] = []
    for part in parts:
        if part.media is None or expand is None:
            text.append(part)
            continue
        tokens += _text_tokens(vocabulary, text)
        text = []
        places.append((len(tokens), part.media))
        tokens += expand(part.media)
    tokens += _text_tokens(vocabulary, text)
    if vocabulary.add_bos and vocabulary.bos >= 0 and tokens[:1] != [vocabulary.bos]:
        tokens.insert(0, vocabulary.bos)
        places = [(place + 1, media) for place, media in places]
    return _with_tokens(Prompt("".join(part.text for part in parts), tuple(tokens), stops, media=tuple(places)))


def _text_tokens(vocabulary: Vocabulary, parts: Sequence[Part]) -> list[int]:
    tokens = vocabulary.tokenize("".join(part.text for part in parts), special=True) if parts else []
    own = sum(_controls(vocabulary, vocabulary.tokenize(part.text, special=True)) for part in parts if not part.is_input)
    return tokens if _controls(vocabulary, tokens) == own else _apart(vocabulary, parts)


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
