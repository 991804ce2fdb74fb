"""Texts and their tokens, as a server makes them: with the interface of the vocabularies in a child process."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llamacli.backend.remote.client import Client
from llamacli.backend.remote.problem import MalformedError
from llamacli.backend.remote.server import ask, learn
from llamacli.binding.enums import llama_token_attr
from llamacli.engine.tokenization.documents import Chunk, Document, NotTokenized, Part, checked
from llamacli.errors import CapacityError, UsageError

if TYPE_CHECKING:
    from llamacli.backend.child.feeder import Conversation

MOST_BYTES = 8 << 20
"""The longest text: it is one request."""


class RemoteTokens:
    """A `TokenTable` of the tokens that a server has described."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytes] = {}
        self._controls: set[int] = set()

    def add(self, token: int, piece: bytes, *, is_control: bool) -> None:
        """Add a token with its bytes; `is_control`: it represents no text."""
        self._pieces[token] = piece
        if is_control:
            self._controls.add(token)

    def special_piece(self, token: int) -> bytes:
        """Return the bytes of a token."""
        return self._pieces[token]

    def attribute(self, token: int) -> int:
        """Return CONTROL for a token that the server adds around texts, 0 for others: it tells no more."""
        return llama_token_attr.LLAMA_TOKEN_ATTR_CONTROL if token in self._controls else 0


class RemoteVocabulary:
    """The vocabulary of the model `wanted` (None: the only or the first one) of a server. Owns the client. A context manager.

    Raises (when built): what `learn` raises; UsageError if the server tells no tokens.
    """

    def __init__(self, client: Client, wanted: str | None) -> None:
        self._client = client
        self._info = learn(client, wanted)
        if self._info.dialect != "llama":
            raise UsageError(f"{client} does not tell tokens", hint="llamacli serve and llama-server do, at /tokenize")

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self._info.model

    def tokenizer(self, *, special: bool, wrap: bool, replace: bool, describes: bool) -> RemoteTokenizer:
        """Return a tokenizer: see `Vocabularies.tokenizer`."""
        return RemoteTokenizer(self, special=special, wrap=wrap, replace=replace, describes=describes)

    def conversations(
        self, conversations: Iterable[Conversation | NotTokenized], *, template: str | None, vocabulary: RemoteTokens | None
    ) -> Iterator[Chunk | NotTokenized]:
        """Yield the prompt of each conversation with its tokens, or its error. `vocabulary` gets the tokens.

        Raises:
            UsageError: for a template, because the server renders with its own.
        """
        if template is not None:
            raise UsageError("chat_template cannot be used: the server renders with its own", parameter="chat_template")
        for one in conversations:
            if isinstance(one, NotTokenized):
                yield one
                continue
            try:
                document = self.ask("/apply-template", {"messages": [message.to_json() for message in one.messages]})
                text = document.get("prompt")
                if not isinstance(text, str):
                    raise MalformedError(f"{self._client} answered with something other than a prompt")
                tokens = self.tokens_of(text, special=True, wrap=False, describes=vocabulary is not None)
            except (UsageError, CapacityError) as error:
                yield NotTokenized(one.document, error)
                continue
            if vocabulary is not None:
                for token, piece in tokens:
                    vocabulary.add(token, piece, is_control=False)
            yield Chunk(Part(one.document, 0, text.encode()), array("i", [token for token, _ in tokens]))

    def detokenize(
        self, texts: Iterable[array[int] | None], *, special: bool = False, wrap: bool = True
    ) -> Iterator[tuple[bytes, bool]]:
        """Yield the bytes of each text: see `Vocabularies.detokenize`. Raises UsageError for what the server cannot do."""
        for name, is_changed in (("special", special), ("bos", not wrap)):
            if is_changed:
                raise UsageError(f"{name} cannot be changed when a server detokenizes: the server decides", parameter=name)
        for tokens in filter(None, texts):
            content = self.ask("/detokenize", {"tokens": list(tokens)}).get("content")
            if not isinstance(content, str):
                raise MalformedError(f"{self._client} answered with something other than a text")
            yield content.encode("utf-8", "replace"), True

    def tokens_of(self, text: str, *, special: bool, wrap: bool, describes: bool) -> list[tuple[int, bytes]]:
        """Return the tokens of a text, with their bytes if it `describes` them. Raises UsageError, RemoteError."""
        request: dict[str, Any] = {"content": text, "add_special": wrap, "parse_special": special}
        if describes:
            request["with_pieces"] = True
        found: Any = self.ask("/tokenize", request).get("tokens")
        try:
            return [_token(one, describes=describes) for one in found]
        except (TypeError, ValueError, KeyError, OverflowError):
            raise MalformedError(f"{self._client} answered with something other than tokens") from None

    def ask(self, path: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer of a page of the server. Raises UsageError if it refuses, RemoteError if it fails."""
        return ask(self._client, self.name, path, request)

    def cancel(self) -> None:
        """End what runs, from any thread: it raises CancelledError."""
        self._client.cancel()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class RemoteTokenizer:
    """A `TextTokenizer`. Each document is one request, and becomes one chunk."""

    def __init__(self, owner: RemoteVocabulary, *, special: bool, wrap: bool, replace: bool, describes: bool) -> None:
        self._owner = owner
        self._special, self._wrap, self._replace, self._describes = special, wrap, replace, describes
        self.vocabulary = RemoteTokens()

    def outcomes(self, documents: Iterable[Document | None]) -> Iterator[Chunk | NotTokenized]:
        """Yield the chunk of each document, or its error. See `TextTokenizer.outcomes`."""
        for document in filter(None, documents):
            try:
                data = _read(checked(document, replace=self._replace))
                yield self._chunk(document, data)
            except (UsageError, CapacityError) as error:
                yield NotTokenized(document, error)

    def _chunk(self, document: Document, data: bytes) -> Chunk:
        text = data.decode()
        found = self._tokens(text, wrap=self._wrap)
        lead = tail = 0
        if self._describes:
            inner = self._tokens(text, wrap=False) if self._wrap else found
            lead, tail = _around([token for token, _ in found], [token for token, _ in inner])
            for place, (token, piece) in enumerate(found):
                self.vocabulary.add(token, piece, is_control=not lead <= place < len(found) - tail)
        first = found[lead][1] if self._describes and len(found) > lead + tail else b""
        return Chunk(
            Part(document, 0, data),
            array("i", [token for token, _ in found]),
            lead,
            tail,
            has_added_space=first.startswith(b" ") and not data.startswith(b" "),
        )

    def _tokens(self, text: str, *, wrap: bool) -> list[tuple[int, bytes]]:
        return self._owner.tokens_of(text, special=self._special, wrap=wrap, describes=self._describes)


def _read(document: Document) -> bytes:
    found, size = [], 0
    for block in document.blocks():
        size += len(block)
        if size > MOST_BYTES:
            raise CapacityError(f"{document.name} is longer than {MOST_BYTES >> 20} MiB, the most that a server gets")
        found.append(block)
    return b"".join(found)


def _token(one: Any, *, describes: bool) -> tuple[int, bytes]:
    """A token as a server writes it: its id, or an object with a piece, which is a list of bytes if it is not UTF-8."""
    if not describes:
        return _id(one), b""
    piece = one["piece"]
    return _id(one["id"]), piece.encode("utf-8", "replace") if isinstance(piece, str) else bytes(piece)


def _id(value: Any) -> int:
    if isinstance(value, bool) or not 0 <= int(value) < 2**31:
        raise ValueError
    return int(value)


def _around(tokens: Sequence[int], inner: Sequence[int]) -> tuple[int, int]:
    """The number of tokens before and after `inner`; none where it is not in `tokens`."""
    for lead in range(len(tokens) - len(inner) + 1):
        if list(tokens[lead : lead + len(inner)]) == list(inner):
            return lead, len(tokens) - len(inner) - lead
    return 0, 0
