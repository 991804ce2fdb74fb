"""Embedding in a child: texts as they are fed, vectors as they are ready."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Final

from llamacli.backend.child.vectors import TEXTS_AT_ONCE, Finished, Outcomes, VectorRequest, Vectors, text_of, vectors_of
from llamacli.backend.child.work.task import Task
from llamacli.engine.embedding.params import EmbeddingParams

if TYPE_CHECKING:
    from llamacli.engine.embedding.embedder import Embedder
    from llamacli.engine.embedding.outcome import Outcome

_SENT_BYTES: Final = 64 << 10
"""Bytes of vectors that are sent at once, or more if a single text has more."""


def embed_fed(embedder: Embedder, asked: VectorRequest, task: Task) -> Generator[Outcomes, None, None]:
    """Yield the vectors of what a task is fed, and the numbers of finished texts. Raises as `Embedder.embed`, `rerank`."""
    texts = map(text_of, task.fed(itertools.repeat(TEXTS_AT_ONCE)))

    def report(count: int) -> None:
        task.emit([Finished(count)])

    params = asked.params or EmbeddingParams()
    with closing(embedder.batches(texts, params, query=asked.query, on_done=report, cancel=task.cancel)) as batches:
        for batch in batches:
            yield from _grouped(batch)


def _grouped(batch: Iterator[Outcome]) -> Generator[Outcomes, None, None]:
    """Yield outcomes that are ready at once in groups: a message for each would take as long as a short text."""
    group: Outcomes = []
    size = 0
    for outcome in batch:
        sent = vectors_of(outcome)
        group.append(sent)
        size += len(sent.data) if isinstance(sent, Vectors) else 0
        if size >= _SENT_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
