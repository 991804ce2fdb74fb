"""`embed index search`: the texts of an index that fit a query."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, ClassVar

from llamacli.cli.embed.index.model import DatabaseArgument, finder_models, model_of, vector_options
from llamacli.cli.embed.options import BatchOptions, EmbeddingModelOptions, OutputOptions
from llamacli.cli.framework.command import Reread, command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.index.finder import Finder, check_server
from llamacli.cli.framework.index.options import QueryPrefixOption, RerankerOption, SearchModeOption
from llamacli.cli.framework.options import RemoteOptions, ResidentOptions
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import UsageError
from llamacli.store.vectors.index import VectorIndex

QueryArgument = Annotated[str, argument(metavar="QUERY", help="Text to search for.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSearchOptions:
    """The way of searching, the number of hits, and their format."""

    PANEL: ClassVar[str] = "Search"

    top_k: Annotated[int, option("--top-k", metavar="K", shows=10, help="Number of nearest texts to show.")] = 10
    search_mode: SearchModeOption = "vectors"
    reranker: RerankerOption = None
    query_prefix: QueryPrefixOption = ""
    json: Annotated[bool, option("--json", help="Write one JSON document.")] = False
    jsonl: Annotated[bool, option("--jsonl", help="Write a JSON document per text; the default off a terminal.")] = False

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UsageError("--top-k must be at least 1")
        if self.json and self.jsonl:
            raise UsageError("--json cannot be used with --jsonl")


@command(
    examples=(
        ("Find notes.", 'llamacli embed index search notes.db "how do I reset it?" --top-k 3'),
        ("Find them by meaning and by words.", 'llamacli embed index search notes.db "error 0x80" --search-mode hybrid'),
    ),
    common=("-m", "--top-k", "--search-mode", "--reranker", "--query-prefix", "-t", "--json", "--jsonl"),
)
def search(
    app: AppContext,
    db: DatabaseArgument,
    query: QueryArgument,
    *,
    show: IndexSearchOptions,
    model: EmbeddingModelOptions,
    context: BatchOptions,
    resident: ResidentOptions,
    remote: RemoteOptions,
    line: Reread,
) -> None:
    """Show the texts of an index that are nearest to a query.

    The score is the cosine of the vectors, also in a hybrid search, whose order it is not. A search for words alone has the
    score of BM25, and a reranker its own. The model is the one that the index was created with, unless -m names it.
    """
    from llamacli.cli.embed.search import write_hits
    from llamacli.render.embed import Hit
    from llamacli.retrieval.quotation import place_document, place_of

    with VectorIndex(db) as index:
        vectors = vector_options(index, remote)
        if other := model_of(index, line):
            options = line(other)
            show, model, context, remote = (options[name] for name in ("show", "model", "context", "remote"))
        if show.search_mode != "words":
            check_server(index, remote)
        models = finder_models(
            app, model, context, vectors, resident, remote, query_prefix=show.query_prefix, reranker=show.reranker
        )
        with closing(Finder(index, models, app.interrupts.guard)) as finder:
            found = finder.find(query, show.top_k, show.search_mode)
    hits = [
        Hit(one.entry.number, one.entry.id, one.entry.text, one.score, place_of(one.entry), place_document(one.entry))
        for one in found
    ]
    write_hits(app, hits, OutputOptions(json=show.json, jsonl=show.jsonl))
