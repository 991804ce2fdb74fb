"""`llamacli embed`: vectors of texts, written, compared or searched."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from llamacli.cli.embed.options import (
    BatchOptions,
    EmbeddingModelOptions,
    FormOptions,
    OutputOptions,
    SearchOptions,
    SourceOptions,
    TextsArgument,
    VectorOptions,
)
from llamacli.cli.embed.session import demo_instead, open_embedder, open_server, open_workers, prefix_for
from llamacli.cli.framework.command import Reread, command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import DaskOption, RemoteOptions, ResidentOptions, ShowTextOption
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.batch.texts import TextSource
    from llamacli.cli.framework.backends.embedding import Vectorizer
    from llamacli.engine.embedding.params import EmbeddingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The option groups of the command, by the names of its parameters."""

    source: SourceOptions
    output: OutputOptions
    search: SearchOptions
    model: EmbeddingModelOptions
    vectors: VectorOptions
    form: FormOptions
    context: BatchOptions
    resident: ResidentOptions
    remote: RemoteOptions
    dask: str | None = None


@command(
    examples=(
        ("See the vector of a text.", 'llamacli embed "The quick brown fox."'),
        ("Vectors of lines, as JSON.", "llamacli embed < sentences.txt > vectors.jsonl"),
        ("Vectors of rows, for NumPy.", "llamacli embed --input rows.jsonl --field body -o vectors.npy"),
        ("Find the nearest text.", 'llamacli embed --query "a fast animal" --top-k 1 fox snail cloud'),
        ("Keep the files of a folder in an index, to search it.", "llamacli embed index add notes.db docs/"),
    ),
    common=("-m", "-f", "--input", "--field", "-o", "--query", "--top-k", "--chunk", "--json", "--csv", "--rerank", "--url"),
)
def embed(
    app: AppContext,
    texts: TextsArgument = (),
    *,
    source: SourceOptions,
    output: OutputOptions,
    search: SearchOptions,
    model: EmbeddingModelOptions,
    vectors: VectorOptions,
    form: FormOptions,
    context: BatchOptions,
    resident: ResidentOptions,
    remote: RemoteOptions,
    dask: DaskOption = None,
    show_text: ShowTextOption = False,
    line: Reread,
) -> None:
    """Turn texts into vectors.

    Texts are arguments, whole documents (-f), rows or lines of a file (--input), or lines of standard input. Without -m the
    small model all-MiniLM-L6-v2 is used, which is fetched the first time. Each text has a result in its place: a vector or an
    error.

    With --url a server makes the vectors; they are normalized and shortened here. With --dask the workers of a cluster do.

    `llamacli embed index` keeps texts, files and their vectors in one file, and searches it.
    """
    from llamacli.cli.embed.input import open_texts

    access = source.access(offline=model.offline, child=resident.child(model))
    if show_text:
        from llamacli.cli.framework.inputs.documents import DocumentInput
        from llamacli.cli.framework.inputs.prompt import show_texts

        with DocumentInput(app.console, access) as documents:
            show_texts(app.console, documents.read_all(source.file))
        return
    options = Options(
        source=source,
        output=output,
        search=search,
        model=model,
        vectors=vectors,
        form=form,
        context=context,
        resident=resident,
        remote=remote,
        dask=dask,
    )
    if not remote.url and (other := demo_instead(app, model, line)):
        reread = line(other)
        options = Options(**{field.name: reread[field.name] for field in dataclasses.fields(Options)})
    params = make_params(app, options)
    with open_texts(app.console, texts, options.source, access) as items, load(app, options) as embedder:
        write(app, embedder, items, params, options)


embed.groups = {"index": "llamacli.cli.embed.index.group"}


def make_params(app: AppContext, options: Options) -> EmbeddingParams:
    """Return the parameters of the embedding.

    Raises:
        UsageError: if options cannot be combined.
    """
    output, vectors, form = options.output, options.vectors, options.form
    if options.search.any and (output.output is not None or output.csv or output.raw):
        raise UsageError("--similarity, --query and --rerank write to standard output, as --json, --jsonl or a table")
    if form.chunk_rows and vectors.chunk is None:
        raise UsageError("--chunk-rows needs --chunk")
    if form.chunk_rows and vectors.pooling == "none":
        raise UsageError("--chunk-rows cannot be used with --pooling none, which makes a vector for each token")
    prefix = prefix_for(app, options.source.prefix, options.model)
    return vectors.params(prefix, normalize=form.normalize, merge=not form.chunk_rows)


@contextmanager
def load(app: AppContext, options: Options) -> Iterator[Vectorizer]:
    """Load the model, with its work cancelled by signals, and close it after the block."""
    rank = options.search.rerank is not None
    if options.dask is not None and (options.remote.url or options.source.input is None):
        raise UsageError("--dask needs --input, and cannot be used with --url")
    opened: AbstractContextManager[Vectorizer]
    if options.remote.url:
        opened = open_server(app, options.remote, options.model, options.vectors, rank=rank)
    elif options.dask is not None:
        child = options.resident.child(options.model)
        opened = open_workers(app, options.dask, options.model, options.context, options.vectors, child, rank=rank)
    else:
        child = options.resident.child(options.model)
        needed = partial(importlib.import_module, f"llamacli.cli.embed.{'search' if options.search.any else 'output'}")
        opened = open_embedder(app, options.model, options.context, options.vectors, child, rank=rank, while_loading=needed)
    with app.interrupts.guard() as guard, opened as embedder:
        guard.cancel = embedder.cancel
        yield embedder


def write(app: AppContext, embedder: Vectorizer, items: TextSource, params: EmbeddingParams, options: Options) -> None:
    """Embed the texts, and write their vectors or what a comparison of them shows."""
    if options.search.any:
        from llamacli.cli.embed.search import run_search

        run_search(app, embedder, items, params, options.search, options.output)
        return
    from llamacli.cli.embed.output import write_vectors

    if embedder.pooling == "rank":
        app.console.note(f"{embedder.name} is a reranking model: these are scores, not vectors (see --rerank)")
    write_vectors(app, embedder, items, params, options.output)
