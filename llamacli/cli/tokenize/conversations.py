"""Conversations of `tokenize --chat`: read from documents, and tokenized, with a projector where they have images or sounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from llamacli.backend.child.feeder import Conversation
from llamacli.backend.child.tokens import MediaVocabulary
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.media import require_projector
from llamacli.cli.framework.options import ProjectorOptions
from llamacli.cli.tokenize.options import VocabularyOptions
from llamacli.engine.chat import message
from llamacli.engine.tokenization.documents import Document, NotTokenized, utf8_blocks
from llamacli.errors import LlamacliError, MediaError, UsageError
from llamacli.json_text import parse_json

if TYPE_CHECKING:
    from llamacli.backend.child.tokenizer import Vocabularies
    from llamacli.backend.remote.tokenizer import RemoteVocabulary
    from llamacli.engine.tokenization.documents import Chunk
    from llamacli.media.kind import MediaKind


def conversations_of(
    documents: Iterable[Document | None], system_prompt: str | None, *, are_messages: bool, replace: bool
) -> Iterator[Conversation | NotTokenized]:
    """Yield each document as a conversation: a user's message, or with `are_messages` a JSON list of messages; or its error."""
    system = [{"role": "system", "content": system_prompt}] if system_prompt is not None else []
    for document in filter(None, documents):
        try:
            text = b"".join(utf8_blocks(document.blocks(), document.name, replace=replace)).decode()
            messages = _messages(text, document.name) if are_messages else [{"role": "user", "content": text}]
            yield Conversation(document, message.read_messages([*system, *messages]))
        except (UsageError, MediaError) as error:
            yield NotTokenized(document, error)


class ConversationTokenizer:
    """The tokenizer of conversations of one model. A context manager.

    Its vocabulary `loaded` is enough for text. The first image or sound opens another process, with the model's weights, which
    libmtmd wants to see, and its projector. Without `projector` the vocabulary is a server's, which tells nothing of them.
    """

    def __init__(
        self,
        app: AppContext,
        model: VocabularyOptions,
        projector: ProjectorOptions | None,
        loaded: Vocabularies | RemoteVocabulary,
    ) -> None:
        self._app, self._model, self._projector, self._loaded = app, model, projector, loaded
        self._with_projector: Vocabularies | None = None
        self._taken: set[MediaKind] = set()
        self._opened = ExitStack()

    def outcomes(
        self, conversations: Iterable[Conversation | NotTokenized], *, template: str | None, table: Any
    ) -> Iterator[Chunk | NotTokenized]:
        """Yield the prompt of each conversation with its tokens, or its error: see `Vocabularies.conversations`.

        `table` gets the tokens: it is the one of what is loaded, or None.
        """
        for has_media, group in itertools.groupby(conversations, key=lambda one: bool(_kinds(one))):
            if not has_media:
                yield from self._loaded.conversations(group, template=template, vocabulary=table)
                continue
            for one in group:
                try:
                    found = self._open(_kinds(one))
                except LlamacliError as error:
                    yield NotTokenized(one.document, error)
                else:
                    yield from found.conversations([one], template=template, vocabulary=table)

    def _open(self, kinds: tuple[MediaKind, ...]) -> Vocabularies:
        """Return the vocabulary with the projector. Raises UsageError if the model does not take these kinds of media."""
        from llamacli.backend.child.tokenizer import Vocabularies

        opened = self._with_projector
        if opened is not None and self._taken.issuperset(kinds):
            return opened
        model, projector = self._model, self._projector
        if projector is None:
            hint = "without --url they are counted with the model's projector"
            raise UsageError("a server does not tell the tokens of images and sounds", hint=hint)
        path = self._app.find_model(self._app, model.model, offline=model.offline)
        found = require_projector(self._app, path, model.model, projector, kinds, offline=model.offline)
        self._taken.update(kinds)
        if opened is None:
            media = MediaVocabulary(str(path), str(found), projector.image_max_tokens)
            opened = self._with_projector = self._opened.enter_context(Vocabularies([], model.child(), media=media))
        return opened

    def cancel(self) -> None:
        """End what runs, from any thread."""
        self._loaded.cancel()
        if self._with_projector is not None:
            self._with_projector.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def _kinds(one: Conversation | NotTokenized) -> tuple[MediaKind, ...]:
    if isinstance(one, NotTokenized):
        return ()
    return tuple(dict.fromkeys(media.kind for each in one.messages for media in each.media))


def _messages(text: str, name: str) -> list[Any]:
    """Parse a JSON list of messages, or an object that has one, as requests do.

    Raises:
        UsageError: if it is neither.
    """
    document = parse_json(text, source=name)
    messages = document.get("messages") if isinstance(document, dict) else document
    if not isinstance(messages, list):
        raise UsageError(f"{name} is not a JSON list of messages", hint="--chat -f reads a JSON list of messages")
    return messages
