"""The texts that an index does not have yet, embedded and added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from llamacli.batch.texts import Item, TextSource
from llamacli.cli.embed.session import outcomes
from llamacli.cli.framework.context import AppContext
from llamacli.engine.embedding.outcome import Embedded
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.errors import RowsFailedError
from llamacli.store.vectors.entries import hash_of, identity_of
from llamacli.store.vectors.index import VectorIndex
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.cli.framework.backends.embedding import Vectorizer

COMMIT_EVERY = 1024
"""Texts between two commits: the most that a crash can lose."""


def add_new_texts(
    app: AppContext, embedder: Vectorizer, index: VectorIndex, items: TextSource, params: EmbeddingParams
) -> None:
    """Embed and add the texts that the index does not have, and report the counts, also after an interruption.

    Raises:
        RowsFailedError: if some texts have no vector. The others were added.
    """
    new = _NewItems(items.items(), index.hashes())
    source = TextSource(new, items.total if items.in_bytes else None, in_bytes=True)
    is_complete = False
    try:
        for number, (item, outcome) in enumerate(outcomes(app, embedder, source, params), 1):
            if isinstance(outcome, Embedded) and isinstance(item.text, str):
                index.add(_identity(item), item.text, outcome.little_endian)
            if number % COMMIT_EVERY == 0:
                index.commit()
        is_complete = True
    except RowsFailedError:
        is_complete = True
        raise
    finally:
        index.commit()
        if is_complete or index.added:
            app.console.note(_counts(index, new.known))


def _counts(index: VectorIndex, known: int) -> str:
    added = index.added - index.removed
    replaced = f"{index.removed:,} replaced, " if index.removed else ""
    return f"{counted(added, 'text')} added, {replaced}{known:,} unchanged; {index.count():,} in total"


class _NewItems:
    """The items that the index does not have, errors included. `known` counts the others. Of an id the last text counts."""

    def __init__(self, items: Iterator[Item], stored: Iterable[tuple[str | None, bytes]]) -> None:
        self._items = items
        self._by_id: dict[str, bytes] = {}
        self._without_id: set[bytes] = set()
        for identity, content in stored:
            self._store(identity, content)
        self.known = 0

    def __iter__(self) -> Iterator[Item]:
        size = 0  # of known items, which count with the next one for the progress
        for item in self._items:
            size += item.size
            if isinstance(item.text, str):
                identity = _identity(item)
                if not self._store(identity, hash_of(identity, item.text)):
                    self.known += 1
                    continue
            yield replace(item, size=size)
            size = 0

    def _store(self, identity: str | None, content: bytes) -> bool:
        """Remember a text by its hash, and return whether it was new."""
        if identity is not None:
            is_new = self._by_id.get(identity) != content
            self._by_id[identity] = content
        else:
            is_new = content not in self._without_id
            self._without_id.add(content)
        return is_new


def _identity(item: Item) -> str | None:
    """Return the item's id in the index, None without one."""
    if item.id is None or item.id == "":
        return None
    return identity_of(str(item.id))
