"""Passages that fit a question: by meaning, by words, or by both.

Both lists are joined by reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009): a passage has the sum of 1 / (60 + rank)
over the lists that it is in. A reranking model may then compare the best of them with the question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from llamacli.engine.embedding.outcome import Embedded, Outcome
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.engine.embedding.vectors import Matrix
    from llamacli.store.vectors.entries import Entry
    from llamacli.store.vectors.index import VectorIndex

SearchMode = Literal["hybrid", "vectors", "words"]

_RANK_OFFSET = 60
_LEAST_POOL = 50
"""Passages of each list that are joined, and that a reranking model compares."""

EmbedQuery = Callable[[str], "Matrix"]
Rerank = Callable[[str, Sequence[str]], Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class Found:
    """A passage, and its score: the cosine of its vector and the question's, BM25 in a search for words, or a reranker's."""

    entry: Entry
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search of an index. `embed_query` makes the vector of a question; `rerank`, if there is one, scores passages."""

    index: VectorIndex
    embed_query: EmbedQuery
    mode: SearchMode = "hybrid"
    rerank: Rerank | None = None

    def find(self, question: str, count: int) -> list[Found]:
        """Return the `count` passages that fit best, best first. Without a full-text index, `hybrid` is `vectors`."""
        pool = max(_LEAST_POOL, 4 * count) if self.rerank is not None else count
        found = [Found(self.index.entry(number), score) for number, score in self._ranked(question, pool)]
        return (self._reranked(question, found) if self.rerank is not None else found)[:count]

    def _ranked(self, question: str, count: int) -> list[tuple[int, float]]:
        if self.mode == "words":
            return [(number, score) for score, number in self.index.find_words(question, count)]
        from llamacli.retrieval.nearest import nearest, scores_of  # imports NumPy

        query = self.embed_query(question)
        pool = max(_LEAST_POOL, 4 * count)
        by_words = self.index.find_words(question, pool) if self.mode == "hybrid" and self.index.has_words else []
        if not by_words:
            return [(number, score) for score, number in nearest(self.index, query, count)]
        by_meaning = nearest(self.index, query, pool)
        best = fused([number for _, number in by_meaning], [number for _, number in by_words])[:count]
        scores = scores_of(self.index, query, best)
        return [(number, scores[number]) for number in best if number in scores]

    def _reranked(self, question: str, found: Sequence[Found]) -> list[Found]:
        """Return the passages in the order of the reranking model; those that it cannot read come last."""
        assert self.rerank is not None
        scored, others = [], []
        for one, outcome in zip(found, self.rerank(question, [one.entry.text for one in found]), strict=True):
            if isinstance(outcome, Embedded):
                scored.append(replace(one, score=outcome.rows.tolist()[0][0]))
            else:
                others.append(one)
        return [*sorted(scored, key=lambda one: -one.score), *others]


def fused(*rankings: Iterable[int]) -> list[int]:
    """Return the numbers of several rankings by the sum of their reciprocal ranks, best first; of a tie, the smaller number."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, 1):
            scores[number] = scores.get(number, 0.0) + 1 / (_RANK_OFFSET + rank)
    return sorted(scores, key=lambda number: (-scores[number], number))
