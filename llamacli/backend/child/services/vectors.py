"""Embedding in a child: texts as they are fed, vectors as they are ready."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from typing import TYPE_CHECKING

from llamacli.backend.child.vectors import TEXTS_AT_ONCE, Finished, VectorRequest, text_of, vectors_of
from llamacli.backend.child.work.task import Task
from llamacli.engine.embedding.params import EmbeddingParams

if TYPE_CHECKING:
    from llamacli.engine.embedding.embedder import Embedder


def embed_fed(embedder: Embedder, asked: VectorRequest, task: Task) -> Generator[object, None, None]:
    """Yield the vectors of what a task is fed, and the numbers of finished texts. Raises as `Embedder.embed`, `rerank`."""
    texts = map(text_of, task.fed(itertools.repeat(TEXTS_AT_ONCE)))

    def report(count: int) -> None:
        task.emit(Finished(count))

    if asked.query is None:
        outcomes = embedder.embed(texts, asked.params, on_done=report, cancel=task.cancel)
    else:
        params = asked.params or EmbeddingParams()
        outcomes = embedder.rerank(asked.query, texts, params, on_done=report, cancel=task.cancel)
    for outcome in outcomes:
        yield vectors_of(outcome)
