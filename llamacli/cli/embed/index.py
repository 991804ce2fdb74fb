"""`llamacli embed index`: texts and their vectors in one file, searched by meaning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, cast, get_args

from llamacli.cli.embed.options import (
    BatchOptions,
    EmbeddingModelOptions,
    MakingOptions,
    OutputOptions,
    SourceOptions,
    TextsArgument,
)
from llamacli.cli.embed.session import DEMO, demo_instead, open_embedder, outcomes, prefix_for
from llamacli.cli.framework.command import Reread, command, group
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.engine.embedding.params import Attention, Embedded
from llamacli.engine.params import Pooling
from llamacli.errors import RowsFailedError, UsageError
from llamacli.store.models.references import is_path
from llamacli.store.vectors import VectorIndex, hash_of

if TYPE_CHECKING:
    from llamacli.batch.texts import Item, Source
    from llamacli.engine.embedding.embedder import Embedder
    from llamacli.engine.embedding.params import EmbeddingParams

COMMIT_EVERY = 1024
"""Texts that an interruption may cost."""

DatabaseArgument = Annotated[Path, argument(metavar="DB", help="The file of the index.")]
IdsArgument = Annotated[tuple[str, ...], argument(metavar="ID", help="What identifies a text: its file, or the id of its row.")]
NumberOption = Annotated[
    tuple[int, ...],
    option(
        "--number", metavar="N", help="The index of a text, as --json shows it; may be given many times.", environment=False
    ),
]
QueryArgument = Annotated[str, argument(metavar="QUERY", help="What to look for.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSearchOptions:
    """What is found, and how it is shown."""

    PANEL: ClassVar[str] = "Search"

    top_k: Annotated[int, option("--top-k", metavar="K", shows=10, help="Only the K nearest.")] = 10
    query_prefix: Annotated[str, option("--query-prefix", help="Put before the query, as some models want it.")] = ""
    json: Annotated[bool, option("--json", help="Write one JSON document.")] = False
    jsonl: Annotated[bool, option("--jsonl", help="A JSON document for each text; the default off a terminal.")] = False

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UsageError("--top-k must be at least 1")
        if self.json and self.jsonl:
            raise UsageError("--json and --jsonl cannot be combined")


@command(
    examples=(
        ("Add whole files.", "llamacli embed index add notes.db -f a.md -f b.md --chunk 200"),
        ("Add rows.", "llamacli embed index add faq.db --input faq.jsonl --field question"),
    )
)
def add(
    app: AppContext,
    db: DatabaseArgument,
    texts: TextsArgument = (),
    *,
    source: SourceOptions,
    model: EmbeddingModelOptions,
    making: MakingOptions,
    context: BatchOptions,
    line: Reread,
) -> None:
    """Add texts to an index, which is made if it is not there.

    Texts that are in it already cost nothing. A text with an id (a file's name, or the id of a row) takes the place of the
    one that had this id before. An index holds vectors of one model, made in one way; others are refused. The model is the one
    that the index was made with, unless -m names it.
    """
    from llamacli.batch.texts import open_source

    with VectorIndex(db, create=True) as index:
        if own := _own_model(index, line) or demo_instead(app, model, line):
            options = line(own)
            source, model, making, context = (options[name] for name in ("source", "model", "making", "context"))
        if making.pooling == "none":
            raise UsageError("an index has one vector for each text: --pooling none has no place in it")
        params = making.params(prefix_for(app, source.prefix, model))
        with (
            open_source(app.console, texts, source) as items,
            app.interrupts.guard() as guard,
            open_embedder(app, model, context, making) as embedder,
        ):
            guard.cancel = embedder.cancel
            if embedder.pooling == "rank":
                raise UsageError(f"{embedder.name} is a reranking model: it makes scores, not vectors")
            index.require(_made_with(embedder, params, _lasting(model.model or DEMO, embedder.model.path)))
            _add_all(app, embedder, index, items, params)


def _add_all(app: AppContext, embedder: Embedder, index: VectorIndex, items: Source, params: EmbeddingParams) -> None:
    """Embeds and adds what is not there yet, and says what is kept, even if not all of it could be added."""
    from llamacli.batch.texts import Source

    fresh = _Fresh(items.items(), index.hashes())
    is_told = False
    try:
        for number, (item, outcome) in enumerate(outcomes(app, embedder, Source(fresh, None), params), 1):
            if isinstance(outcome, Embedded) and isinstance(item.text, str):
                index.add(_identity(item), item.text, outcome.vectors.astype("<f4").tobytes())
            if number % COMMIT_EVERY == 0:
                index.commit()
        is_told = True
    except RowsFailedError:
        is_told = True
        raise
    finally:
        index.commit()
        if is_told or index.added:
            app.console.note(_tally(index, fresh.known))


def _tally(index: VectorIndex, known: int) -> str:
    """What became of the texts."""
    added = index.added - index.replaced
    replaced = f"{index.replaced:,} replaced, " if index.replaced else ""
    there = f"{known:,} {'was' if known == 1 else 'were'} there"
    return f"{added:,} text{'s' * (added != 1)} added, {replaced}{there}; {index.count():,} in all"


class _Fresh:
    """The items that are not in the index yet, errors included; counts the others. Of an id the last text counts."""

    def __init__(self, items: Iterator[Item], there: Iterable[tuple[str | None, bytes]]) -> None:
        self._items = items
        self._by_id: dict[str, bytes] = {}
        self._without_id: set[bytes] = set()
        for identity, content in there:
            self._is_new(identity, content)
        self.known = 0

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            if isinstance(item.text, str):
                identity = _identity(item)
                if not self._is_new(identity, hash_of(identity, item.text)):
                    self.known += 1
                    continue
            yield item

    def _is_new(self, identity: str | None, content: bytes) -> bool:
        """Whether that is not there, and from now on it is."""
        if identity is not None:
            is_new = self._by_id.get(identity) != content
            self._by_id[identity] = content
        else:
            is_new = content not in self._without_id
            self._without_id.add(content)
        return is_new


def _identity(item: Item) -> str | None:
    """What tells an item from others in the index. SQLite takes no bytes that are not UTF-8, which a file's name may have."""
    if item.id is None or item.id == "":
        return None
    return str(item.id).encode("utf-8", "backslashreplace").decode()


@command(examples=(("Find notes.", 'llamacli embed index search notes.db "how do I reset it?" --top-k 3'),))
def search(
    app: AppContext,
    db: DatabaseArgument,
    query: QueryArgument,
    *,
    show: IndexSearchOptions,
    model: EmbeddingModelOptions,
    context: BatchOptions,
    line: Reread,
) -> None:
    """Show the texts of an index that are nearest to a query.

    The model is the one that the index was made with, unless -m names it.
    """
    import numpy as np

    from llamacli.cli.embed.search import embed_query, write_hits
    from llamacli.engine.embedding.vectors import Best, candidates
    from llamacli.render.embed import Hit

    with VectorIndex(db) as index:
        making = _making(index)
        if own := _own_model(index, line):
            options = line(own)
            show, model, context = (options[name] for name in ("show", "model", "context"))
        params = making.params(show.query_prefix)
        with app.interrupts.guard() as guard, open_embedder(app, model, context, making) as embedder:
            guard.cancel = embedder.cancel
            index.require({"fingerprint": embedder.fingerprint()})
            vector = embed_query(embedder, query, params, None)
        best = Best(show.top_k)
        for numbers, data in index.vectors(vector.nbytes):
            scores = np.frombuffer(data, dtype="<f4").reshape(len(numbers), -1) @ vector[0]
            for place in candidates(scores, show.top_k):
                best.add(float(scores[place]), numbers[place])
        found = [(score, index.entry(number)) for score, number in best.ranked()]
    hits = [Hit(entry.number, entry.id, entry.text, min(max(score, -1.0), 1.0)) for score, entry in found]
    write_hits(app, hits, OutputOptions(json=show.json, jsonl=show.jsonl))


@command(
    examples=(
        ("Remove what was a file.", "llamacli embed index rm notes.db a.md"),
        ("Remove texts by the index that a search wrote.", "llamacli embed index rm notes.db --number 7 --number 12"),
    )
)
def rm(app: AppContext, db: DatabaseArgument, ids: IdsArgument = (), *, number: NumberOption = ()) -> None:
    """Remove texts from an index.

    The id of a text is the name of its file, or the id of its row; all texts of an id are removed. If one is not there, nothing
    is removed. To remove an index, remove its file.
    """
    if not ids and not number:
        raise UsageError("there is nothing to remove", hint="name ids, or numbers with --number")
    with VectorIndex(db) as index:
        removed = index.remove(ids, number)
        app.console.note(f"{removed:,} text{'s' * (removed != 1)} removed; {index.count():,} in all")


@command(examples=(("See what is in an index.", "llamacli embed index info notes.db"),))
def info(app: AppContext, db: DatabaseArgument, *, json_: JsonOption = False) -> None:
    """Show how many texts an index has, and what its vectors were made with."""
    from llamacli.render.models import format_columns
    from llamacli.render.text import escape_line

    with VectorIndex(db) as index:
        about: dict[str, str | int] = {name: value for name, value in index.about().items() if name != "format"}
        if (dims := str(about.get("dimensions"))).isdecimal():
            about["dimensions"] = int(dims)
        document = {"path": str(db), "texts": index.count(), "bytes": db.stat().st_size, **about}
    if json_:
        app.console.write(json.dumps(document, ensure_ascii=False) + "\n")
    else:
        app.console.write(format_columns([(name, escape_line(str(value))) for name, value in document.items() if value != ""]))


def _made_with(embedder: Embedder, params: EmbeddingParams, reference: str) -> dict[str, str]:
    """What two sets of vectors must have in common to be compared, and the model's names for people."""
    return {
        "fingerprint": embedder.fingerprint(),
        "model": embedder.name,
        "reference": reference,
        "pooling": embedder.pooling,
        "attention": embedder.attention,
        "dimensions": str(params.dims or embedder.dimension),
        "prefix": params.prefix,
    }


def _lasting(reference: str, path: Path) -> str:
    """What names the model in every folder: for a file, where it is."""
    return str(path.resolve()) if is_path(reference) or Path(reference).resolve() == path.resolve() else reference


def _making(index: VectorIndex) -> MakingOptions:
    """How the index's vectors were made."""
    if not index.count():
        raise UsageError(f"{index.path} is empty")
    about = index.about()
    dims, pooling, attention = about.get("dimensions", ""), about.get("pooling"), about.get("attention")
    if not dims.isdecimal() or pooling not in get_args(Pooling) or attention not in get_args(Attention):
        raise UsageError(f"{index.path} is damaged: it does not say how its vectors were made")
    return MakingOptions(pooling=cast("Pooling", pooling), attention=cast("Attention", attention), dims=int(dims))


def _own_model(index: VectorIndex, line: Reread) -> str | None:
    """The option that names the model with which the index was made; None if -m is given, which counts more.

    A model in the settings or in the environment counts less. As if the user had named it, it has its own settings.
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
