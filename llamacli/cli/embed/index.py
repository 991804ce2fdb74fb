"""`llamacli embed index`: texts and their vectors in one file, searched by meaning."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, cast, get_args

from llamacli.cli.embed.options import (
    BatchOptions,
    EmbeddingModelOptions,
    OutputOptions,
    SourceOptions,
    TextsArgument,
    VectorOptions,
)
from llamacli.cli.embed.session import DEMO, demo_instead, open_embedder, open_server, prefix_for
from llamacli.cli.framework.command import Reread, command, group
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption, RemoteOptions, ResidentOptions
from llamacli.cli.framework.parameters import argument, option
from llamacli.engine.embedding.params import Attention
from llamacli.engine.params import Pooling
from llamacli.errors import UsageError
from llamacli.render.text import escape_line
from llamacli.store.models.references import is_path
from llamacli.store.vectors import VectorIndex
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.cli.embed.session import Vectorizer
    from llamacli.engine.embedding.params import EmbeddingParams

DatabaseArgument = Annotated[Path, argument(metavar="DB", help="The index file.")]
IdsArgument = Annotated[tuple[str, ...], argument(metavar="ID", help="The id of a text: its file, or the id of its row.")]
NumberOption = Annotated[
    tuple[int, ...],
    option("--number", metavar="N", help="The number of a text, `index` in --json; can be repeated.", environment=False),
]
QueryArgument = Annotated[str, argument(metavar="QUERY", help="Text to search for.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSearchOptions:
    """The number of hits, and their format."""

    PANEL: ClassVar[str] = "Search"

    top_k: Annotated[int, option("--top-k", metavar="K", shows=10, help="Number of nearest texts to show.")] = 10
    query_prefix: Annotated[str, option("--query-prefix", help="Text put before the query, as some models require.")] = ""
    json: Annotated[bool, option("--json", help="Write one JSON document.")] = False
    jsonl: Annotated[bool, option("--jsonl", help="Write a JSON document per text; the default off a terminal.")] = False

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UsageError("--top-k must be at least 1")
        if self.json and self.jsonl:
            raise UsageError("--json cannot be used with --jsonl")


@command(
    examples=(
        ("Add whole files.", "llamacli embed index add notes.db -f a.md -f b.md --chunk 200"),
        ("Add rows.", "llamacli embed index add faq.db --input faq.jsonl --field question"),
    ),
    common=("-m", "-f", "--input", "--field", "--chunk", "--pooling", "-t"),
)
def add(
    app: AppContext,
    db: DatabaseArgument,
    texts: TextsArgument = (),
    *,
    source: SourceOptions,
    model: EmbeddingModelOptions,
    vectors: VectorOptions,
    context: BatchOptions,
    resident: ResidentOptions,
    remote: RemoteOptions,
    line: Reread,
) -> None:
    """Add texts to an index, which is created if it does not exist.

    Texts that the index has already are not embedded again. A text with an id (a file's name, or the id of a row) replaces the
    earlier text with this id. An index holds vectors of one model and one set of options; others are refused. The model is the
    one that the index was created with, unless -m names it. With --url a server makes the vectors, then and in each search.
    """
    from llamacli.cli.embed.index_add import add_new_texts
    from llamacli.cli.embed.input import open_texts

    with VectorIndex(db, create=True) as index:
        if other := _model_of(index, line) or (None if remote.url else demo_instead(app, model, line)):
            options = line(other)
            source, model, vectors, context, remote = (
                options[name] for name in ("source", "model", "vectors", "context", "remote")
            )
        _check_place(index, remote)
        if vectors.pooling == "none":
            raise UsageError("--pooling none cannot be used with an index, which holds one vector for each text")
        params = vectors.params(prefix_for(app, source.prefix, model))
        with (
            open_texts(app.console, texts, source, source.access(offline=model.offline, child=resident.child(model))) as items,
            app.interrupts.guard() as guard,
            _opened(app, remote, model, context, vectors, resident) as embedder,
        ):
            guard.cancel = embedder.cancel
            if embedder.pooling == "rank":
                raise UsageError(f"{embedder.name} is a reranking model: it makes scores, not vectors")
            index.require(_settings(embedder, params, model.model, remote))
            add_new_texts(app, embedder, index, items, params)


@command(
    examples=(("Find notes.", 'llamacli embed index search notes.db "how do I reset it?" --top-k 3'),),
    common=("-m", "--top-k", "--query-prefix", "-t", "--json", "--jsonl"),
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

    The model is the one that the index was created with, unless -m names it.
    """
    import numpy as np

    from llamacli.cli.embed.search import embed_query, write_hits
    from llamacli.engine.embedding.vectors import Best, candidates
    from llamacli.render.embed import Hit

    with VectorIndex(db) as index:
        vectors = _vector_options(index)
        if other := _model_of(index, line):
            options = line(other)
            show, model, context, remote = (options[name] for name in ("show", "model", "context", "remote"))
        _check_place(index, remote)
        if remote.url:  # which pools as it was set up to
            vectors = replace(vectors, pooling=None, attention=None)
        params = vectors.params(show.query_prefix)
        with app.interrupts.guard() as guard, _opened(app, remote, model, context, vectors, resident) as embedder:
            guard.cancel = embedder.cancel
            index.require({"fingerprint": embedder.fingerprint()})
            vector = embed_query(embedder, query, params, None)
        best = Best(show.top_k)
        for numbers, data in index.vectors(vector.nbytes):
            scores = np.frombuffer(data, dtype="<f4").reshape(len(numbers), -1) @ vector[0]
            for position in candidates(scores, show.top_k):
                best.add(float(scores[position]), numbers[position])
        found = [(score, index.entry(number)) for score, number in best.ranked()]
    hits = [Hit(entry.number, entry.id, entry.text, min(max(score, -1.0), 1.0)) for score, entry in found]
    write_hits(app, hits, OutputOptions(json=show.json, jsonl=show.jsonl))


@command(
    examples=(
        ("Remove the texts of a file.", "llamacli embed index rm notes.db a.md"),
        ("Remove texts by the number that a search wrote.", "llamacli embed index rm notes.db --number 7 --number 12"),
    )
)
def rm(app: AppContext, db: DatabaseArgument, ids: IdsArgument = (), *, number: NumberOption = ()) -> None:
    """Remove texts from an index.

    The id of a text is the name of its file, or the id of its row. All texts with the id are removed. If one of them is not in
    the index, nothing is removed. To remove an index, remove its file.
    """
    if not ids and not number:
        raise UsageError("no text to remove", hint="name ids, or numbers with --number")
    with VectorIndex(db) as index:
        removed = index.remove(ids, number)
        app.console.note(f"{counted(removed, 'text')} removed; {index.count():,} in total")


@command(examples=(("See the contents of an index.", "llamacli embed index info notes.db"),))
def info(app: AppContext, db: DatabaseArgument, *, json_: JsonOption = False) -> None:
    """Show how many texts an index has, and the model and options of its vectors."""
    from llamacli.render.columns import format_columns

    with VectorIndex(db) as index:
        about: dict[str, str | int] = {name: value for name, value in index.about().items() if name != "format"}
        if (dims := str(about.get("dimensions"))).isdecimal():
            about["dimensions"] = int(dims)
        document = {"path": str(db), "texts": index.count(), "bytes": db.stat().st_size, **about}
    if json_:
        app.console.write(json.dumps(document, ensure_ascii=False) + "\n")
    else:
        rows = [(name, escape_line(str(value))) for name, value in document.items() if value != ""]
        app.console.write(format_columns(rows, width=app.console.line_width))


def _opened(
    app: AppContext,
    remote: RemoteOptions,
    model: EmbeddingModelOptions,
    context: BatchOptions,
    vectors: VectorOptions,
    resident: ResidentOptions,
) -> AbstractContextManager[Vectorizer]:
    """The model, here or on a server."""
    if remote.url:
        return open_server(app, remote, model, vectors)
    return open_embedder(app, model, context, vectors, resident.child(model))


def _check_place(index: VectorIndex, remote: RemoteOptions) -> None:
    """Raise UsageError if a server made the vectors and none is named: an index file must not send queries to one by itself."""
    server = index.about().get("server")
    if server and not remote.url:
        raise UsageError(f"{index.path} has vectors that a server made", hint=f"--url {escape_line(server)} uses it again")


def _settings(embedder: Vectorizer, params: EmbeddingParams, reference: str | None, remote: RemoteOptions) -> dict[str, str]:
    """Return what two sets of vectors must share to be comparable, and the model's names for the user."""
    from llamacli.backend.child.embedder import ChildEmbedder

    if isinstance(embedder, ChildEmbedder):
        reference = _absolute(reference or DEMO, embedder.path)
    return {
        "fingerprint": embedder.fingerprint(),
        "model": embedder.name,
        "reference": reference or embedder.name,
        "server": remote.url[0] if remote.url else "",
        "pooling": embedder.pooling,
        "attention": embedder.attention,
        "dimensions": str(params.dims or embedder.dimension),
        "prefix": params.prefix,
    }


def _absolute(reference: str, path: Path) -> str:
    """Return a reference to the model that is valid in every directory: for a file, its absolute path."""
    return str(path.resolve()) if is_path(reference) or Path(reference).resolve() == path.resolve() else reference


def _vector_options(index: VectorIndex) -> VectorOptions:
    """Return the options with which the index's vectors were made.

    Raises:
        UsageError: if the index is empty or corrupt.
    """
    if not index.count():
        raise UsageError(f"{index.path} is empty")
    about = index.about()
    dims, pooling, attention = about.get("dimensions", ""), about.get("pooling"), about.get("attention")
    if not dims.isdecimal() or pooling not in get_args(Pooling) or attention not in get_args(Attention):
        raise UsageError(f"{index.path} is corrupt: the options of its vectors are missing")
    return VectorOptions(pooling=cast("Pooling", pooling), attention=cast("Attention", attention), dims=int(dims))


def _model_of(index: VectorIndex, line: Reread) -> str | None:
    """Return the option that names the index's model, or None if -m is given, which takes precedence.

    The settings and the environment do not take precedence. As if it were given, the option selects the model's settings.
    """
    reference = index.about().get("reference")
    return None if reference is None or line.given("model") else f"--model={reference}"


index = group(
    "index",
    add,
    search,
    rm,
    info,
    help="Keep texts and their vectors in one file, and search it by meaning.",
    examples=(
        ("Make an index.", "llamacli embed index add notes.db --input notes.jsonl"),
        ("Search it.", 'llamacli embed index search notes.db "What about the garden?"'),
    ),
)
