"""`embed --similarity`, `--query` and `--rerank`: texts compared without writing their vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llamacli.cli.embed.options import OutputOptions, SearchOptions
from llamacli.cli.embed.session import outcomes
from llamacli.cli.framework.context import AppContext
from llamacli.engine.embedding.outcome import Embedded
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.engine.embedding.vectors import Best, Matrix, cosines, nearest
from llamacli.errors import CapacityError, RowsFailedError, UsageError
from llamacli.render import embed as page

if TYPE_CHECKING:
    from llamacli.batch.texts import Item, TextSource
    from llamacli.cli.framework.backends.embedding import Vectorizer

MAX_COMPARED = 4096
"""Texts of which all pairs are compared. The matrix grows with their square."""


def run_search(
    app: AppContext,
    embedder: Vectorizer,
    items: TextSource,
    params: EmbeddingParams,
    search: SearchOptions,
    output: OutputOptions,
) -> None:
    """Compare or search the texts, as the options request.

    Raises:
        UsageError: if the model or the parameters do not support it.
        RowsFailedError: if some texts have no vector. The others were compared.
    """
    if embedder.pooling == "none" or not params.merge:
        raise UsageError("--pooling none and --chunk-rows cannot be used here: texts are compared by one vector each")
    if embedder.pooling == "rank" and search.rerank is None:
        raise UsageError(f"{embedder.name} is a reranking model: it makes scores, not vectors", hint="use --rerank QUERY")
    if search.similarity:
        show_similarity(app, embedder, items, params, output)
    else:
        show_nearest(app, embedder, items, params, search, output)


def show_similarity(
    app: AppContext, embedder: Vectorizer, items: TextSource, params: EmbeddingParams, output: OutputOptions
) -> None:
    """Write the cosine similarity of each pair of texts."""
    compared: list[page.Compared] = []
    rows: list[Matrix] = []
    failure = None
    try:
        for item, outcome in outcomes(app, embedder, items, params):
            if isinstance(outcome, Embedded):
                compared.append(page.Compared(outcome.index, item.id, item.shown))
                rows.append(outcome.vectors)
                if len(compared) > MAX_COMPARED:
                    raise CapacityError(
                        f"--similarity compares at most {MAX_COMPARED:,} texts", hint="use --query, or an index"
                    )
    except RowsFailedError as error:
        failure = error
    matrix = cosines(np.concatenate(rows) if rows else np.empty((0, embedder.width), np.float32))
    if output.json or output.jsonl or not app.console.terminals.stdout:
        for piece in page.similarity_document(compared, matrix):
            app.console.write(piece)
    else:
        app.console.write(page.format_similarity(compared, matrix, width=app.console.width))
    if failure is not None:
        raise failure


def show_nearest(
    app: AppContext,
    embedder: Vectorizer,
    items: TextSource,
    params: EmbeddingParams,
    search: SearchOptions,
    output: OutputOptions,
) -> None:
    """Write the texts by their score, best first."""
    best = Best(search.top_k)
    kept: dict[int, Item] = {}
    query = embed_query(embedder, search.query, params, search.query_prefix) if search.query is not None else None
    failure = None
    try:
        for item, outcome in outcomes(app, embedder, items, params, rerank=search.rerank):
            if isinstance(outcome, Embedded):
                score = float(outcome.vectors[0, 0]) if query is None else float(nearest(query, outcome.vectors)[0])
                kept[outcome.index] = item
                if (dropped := best.add(score, outcome.index)) is not None:
                    del kept[dropped]
    except RowsFailedError as error:
        failure = error
    hits = [page.Hit(number, kept[number].id, kept[number].shown_text, score) for score, number in best.ranked()]
    write_hits(app, hits, output)
    if failure is not None:
        raise failure


def embed_query(embedder: Vectorizer, query: str, params: EmbeddingParams, prefix: str | None) -> Matrix:
    """Return the vector of a query.

    Raises:
        LlamacliError: if it has none.
    """
    import dataclasses

    own = params if prefix is None else dataclasses.replace(params, prefix=prefix)
    (outcome,) = embedder.embed([query], own)
    if not isinstance(outcome, Embedded):
        raise outcome.error
    return outcome.vectors


def write_hits(app: AppContext, hits: Sequence[page.Hit], output: OutputOptions) -> None:
    """Write a table, one document, or a document for each hit."""
    console = app.console
    if output.json:
        document = {"object": "list", "results": [page.hit_document(hit) for hit in hits]}
        console.write(json.dumps(document, ensure_ascii=False) + "\n")
    elif output.jsonl or not console.terminals.stdout:
        console.write("".join(json.dumps(page.hit_document(hit), ensure_ascii=False) + "\n" for hit in hits))
    else:
        console.write(page.format_hits(hits, width=console.width))
