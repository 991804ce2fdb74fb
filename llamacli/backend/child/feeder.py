"""Texts on their way to a child: read, sent in bounded pieces, and put together again with the tokens that come back."""

from __future__ import annotations

import itertools
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from llamacli.backend.child.tokens import FedTexts, RefusedText, Stretch, TextBlock, TokenizedPart
from llamacli.backend.child.wire.codec import ProtocolError
from llamacli.backend.child.wire.faults import exception_of
from llamacli.engine.chat.message import Message
from llamacli.engine.tokenization.documents import Chunk, Document, NotTokenized, Part, checked
from llamacli.errors import LlamacliError

_FEED_BYTES: Final = 64 << 10
"""Bytes of small documents that travel together."""

_FEED_IDS: Final = 16 << 10
"""Ids that travel together."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A document that was read as messages."""

    document: Document
    messages: tuple[Message, ...]


@dataclass(slots=True)
class _InFlight:
    """A document that the child has. `unread` is its text without the parts that have come back.

    `error` is why the rest of it was not sent, `is_refused` that the child wants no more of it. `offset` is the place in the
    first block of `unread`, `start` that in the document.
    """

    document: Document
    unread: deque[bytes] = field(default_factory=deque)
    offset: int = 0
    start: int = 0
    error: LlamacliError | None = None
    is_refused: bool = False

    def take(self, size: int) -> bytes:
        """Return the next bytes of the text."""
        pieces: list[bytes] = []
        while size > 0:
            if not self.unread:
                raise ProtocolError("the engine has tokens of more text than it was sent")
            piece = self.unread[0][self.offset : self.offset + size]
            pieces.append(piece)
            size -= len(piece)
            self.offset += len(piece)
            if self.offset == len(self.unread[0]):
                self.unread.popleft()
                self.offset = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Feeder:
    """What is sent to a child, and what it has not answered yet."""

    def __init__(self) -> None:
        self.in_flight: deque[_InFlight] = deque()

    def source(self, count: int) -> tuple[list[Any], bool]:
        """Return up to `count` items for the child, and whether they are the last (`stream.Source`)."""
        raise NotImplementedError

    def outcome(self, sent: TokenizedPart | RefusedText) -> Chunk | NotTokenized:
        """Return what the child sent about the first document in flight."""
        if not self.in_flight:
            raise ProtocolError("the engine answers more texts than it was sent")
        flight = self.in_flight[0]
        if isinstance(sent, RefusedText):
            flight.is_refused = True
            self.in_flight.popleft()
            error = flight.error or exception_of(sent.fault)
            if not isinstance(error, LlamacliError):
                raise error
            return NotTokenized(flight.document, error)
        data = flight.take(sent.size) if sent.text is None else sent.text
        part = Part(flight.document, flight.start, data, is_first=flight.start == 0, is_last=sent.is_last)
        flight.start += sent.size
        if sent.is_last:
            self.in_flight.popleft()
        numbers: array[int] = array("i")
        numbers.frombytes(sent.tokens)
        return Chunk(part, numbers, sent.lead, sent.tail, sent.has_added_space)


class TextFeeder(Feeder):
    """Feeds documents, several small ones together."""

    def __init__(self, documents: Iterable[Document | None], *, replace: bool) -> None:
        super().__init__()
        self._blocks = self._read(documents, replace=replace)

    def source(self, count: int) -> tuple[list[FedTexts], bool]:
        """Return up to `count` groups of blocks; None where the next document has to wait, and no further."""
        feeds: list[FedTexts] = []
        while len(feeds) < count:
            group: list[TextBlock] = []
            size = 0
            for block in self._blocks:
                if block is None:
                    return [*feeds, *([group] if group else []), None], False
                group.append(block)
                size += 64 + len(block.data)
                if size >= _FEED_BYTES:
                    break
            else:
                return [*feeds, *([group] if group else [])], True
            feeds.append(group)
        return feeds, False

    def _read(self, documents: Iterable[Document | None], *, replace: bool) -> Iterator[TextBlock | None]:
        for document in documents:
            if document is None:
                yield None
                continue
            flight = _InFlight(document)
            self.in_flight.append(flight)
            yield from _blocks_of(flight, checked(document, replace=replace))


def _blocks_of(flight: _InFlight, document: Document) -> Iterator[TextBlock]:
    """Yield the blocks of a document: each when the next one is there, to mark the last."""
    name = document.name.encode("utf-8", "backslashreplace").decode()
    held: bytes | None = None
    try:
        for block in document.blocks():
            if flight.is_refused:
                break
            if held is not None:
                flight.unread.append(held)
                yield TextBlock(name, held, "more")
            held = block
    except LlamacliError as error:
        flight.error = error
        if held is not None:
            flight.unread.append(held)
            yield TextBlock(name, held, "more")
        yield TextBlock(name, b"", "broken")
        return
    flight.unread.append(held or b"")
    yield TextBlock(name, held or b"", "last")


class ConversationFeeder(Feeder):
    """Feeds conversations."""

    def __init__(self, conversations: Iterable[Conversation | NotTokenized]) -> None:
        super().__init__()
        self._conversations = iter(conversations)

    def source(self, count: int) -> tuple[list[Any], bool]:
        """Return the messages of up to `count` conversations."""
        taken = list(itertools.islice(self._conversations, count))
        for one in taken:
            self.in_flight.append(_InFlight(one.document, error=one.error if isinstance(one, NotTokenized) else None))
        fed = [None if isinstance(one, NotTokenized) else one.messages for one in taken]
        return fed, len(taken) < count


class IdFeeder:
    """Feeds ids, those of several short texts together."""

    def __init__(self, texts: Iterable[array[int] | None]) -> None:
        self._blocks = _id_blocks(texts)

    def source(self, _count: int) -> tuple[list[list[Stretch]], bool]:
        """Return one group of ids."""
        group: list[Stretch] = []
        size = 0
        for block in self._blocks:
            if block is None:
                return [group] if group else [], False
            group.append(block)
            size += 64 + len(block[0])
            if size >= _FEED_BYTES:
                return [group], False
        return [group] if group else [], True


def _id_blocks(texts: Iterable[array[int] | None]) -> Iterator[Stretch | None]:
    for ids in texts:
        if ids is None:
            yield None
            continue
        for start in range(0, len(ids), _FEED_IDS):
            yield ids[start : start + _FEED_IDS].tobytes(), start + _FEED_IDS >= len(ids)
