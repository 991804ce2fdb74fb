"""Texts and tokens on the wire: what both sides know of the vocabularies in a child."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from llamacli.backend.child.wire.faults import Fault
from llamacli.backend.child.wire.method import Method
from llamacli.engine.chat.message import Message

BATCHES_AHEAD: Final = 16
"""Items that a child may compute before they are taken: the tokens of some megabytes of text."""


class TextBlock(msgspec.Struct, array_like=True, frozen=True):
    """A block of a document: UTF-8 that ends with a complete character.

    `end` says what follows: "more" of the document, nothing because it was the "last" block, or nothing because the rest cannot
    be read ("broken"). `name` is for messages.
    """

    name: str
    data: bytes
    end: Literal["more", "last", "broken"]


class TokenizedPart(msgspec.Struct, array_like=True, frozen=True, tag="tokens"):
    """The tokens of the next `size` bytes of a document: int32 in the byte order of the machine.

    `lead`, `tail` and `has_added_space` are those of `Chunk`. `described` has the bytes and the attributes of tokens that occur
    for the first time. `text` is the text, if it is not the one that was fed.
    """

    tokens: bytes
    size: int
    lead: int
    tail: int
    has_added_space: bool
    is_last: bool
    described: list[tuple[int, bytes, int]]
    text: bytes | None = None


class RefusedText(msgspec.Struct, array_like=True, frozen=True, tag="refused"):
    """The error in the place of a document, or of the rest of one."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class MediaVocabulary:
    """Arguments of `OPEN_MEDIA_VOCABULARY`: the files of a model and of its projector, and the most tokens of a picture."""

    path: str
    mmproj: str
    image_max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Tokenization:
    """Arguments of `TOKENIZE_TEXTS`. `vocabulary` is a number from `OPEN_VOCABULARY`."""

    vocabulary: int
    special: bool
    wrap: bool
    describes: bool


@dataclass(frozen=True, slots=True)
class ChatTokenization:
    """Arguments of `TOKENIZE_CHATS`. `template` None is the model's own."""

    vocabulary: int
    template: str | None
    describes: bool


@dataclass(frozen=True, slots=True)
class Detokenization:
    """Arguments of `DETOKENIZE_TEXTS`."""

    vocabulary: int
    special: bool
    wrap: bool


Outcomes = list[TokenizedPart | RefusedText]
FedTexts = list[TextBlock] | None
"""Blocks of documents. None: the next one has to wait, so everything before it is wanted now."""

FedConversation = tuple[Message, ...] | None
"""The messages of a conversation; None in the place of one that cannot be read."""

Stretch = tuple[bytes, bool]
"""A stretch of a text, and whether the text ends with it: ids as int32, or their bytes."""

OPEN_VOCABULARY: Final = Method("open_vocabulary", str, int)
OPEN_MEDIA_VOCABULARY: Final = Method("open_media_vocabulary", MediaVocabulary, int)
TOKENIZE_TEXTS: Final = Method("tokenize_texts", Tokenization, items=Outcomes, feeds=FedTexts, window=BATCHES_AHEAD)
TOKENIZE_CHATS: Final = Method("tokenize_chats", ChatTokenization, items=Outcomes, feeds=FedConversation, window=BATCHES_AHEAD)
DETOKENIZE_TEXTS: Final = Method(
    "detokenize_texts", Detokenization, items=list[Stretch], feeds=list[Stretch], window=BATCHES_AHEAD
)
