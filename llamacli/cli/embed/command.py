"""`llamacli embed`: vectors from texts, and what can be done with them at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.embed.options import (
    BatchOptions,
    EmbeddingModelOptions,
    FormOptions,
    MakingOptions,
    OutputOptions,
    SearchOptions,
    SourceOptions,
    TextsArgument,
)
from llamacli.cli.embed.session import demo_instead, open_embedder, outcomes, prefix_for, rows_failed
from llamacli.cli.framework.command import Reread, command
from llamacli.cli.framework.context import AppContext
from llamacli.errors import RowsFailedError, UsageError

if TYPE_CHECKING:
    from llamacli.batch.texts import Source
    from llamacli.batch.vector_file import Shape
    from llamacli.batch.vector_formats import Writer
    from llamacli.batch.vector_resume import Kept
    from llamacli.cli.embed.options import OutputFormat
    from llamacli.engine.embedding.embedder import Embedder
    from llamacli.engine.embedding.params import EmbeddingParams


@command(
    examples=(
        ("See what a text becomes.", 'llamacli embed "The quick brown fox."'),
        ("Vectors of lines, as JSON.", "llamacli embed < sentences.txt > vectors.jsonl"),
        ("Vectors of rows, for NumPy.", "llamacli embed --input rows.jsonl --field body -o vectors.npy"),
        ("Which of these is nearest?", 'llamacli embed --query "a fast animal" --top-k 1 fox snail cloud'),
        ("Keep notes in an index, and search it.", "llamacli embed index add notes.db -f a.md -f b.md"),
    )
)
def embed(
    app: AppContext,
    texts: TextsArgument = (),
    *,
    source: SourceOptions,
    output: OutputOptions,
    search: SearchOptions,
    model: EmbeddingModelOptions,
    making: MakingOptions,
    form: FormOptions,
    context: BatchOptions,
    line: Reread,
) -> None:
    """Turn texts into vectors.

    Texts are arguments, whole files (-f), rows or lines of a file (--input), or lines of standard input. With no -m the small
    model all-MiniLM-L6-v2 is used, which is fetched the first time. Each text has a result in its place: a vector or an error.

    `llamacli embed index` keeps vectors in a file and searches them.
    """
    from llamacli.batch.texts import open_source

    if other := demo_instead(app, model, line):
        options, names = line(other), ("source", "output", "search", "model", "making", "form", "context")
        source, output, search, model, making, form, context = (options[name] for name in names)
    if search.any and (output.output is not None or output.csv or output.raw):
        raise UsageError("--similarity, --query and --rerank write to standard output, as --json, --jsonl or a table")
    if form.chunk_rows and making.chunk is None:
        raise UsageError("--chunk-rows needs --chunk")
    if form.chunk_rows and making.pooling == "none":
        raise UsageError("--pooling none makes a vector for each token, --chunk-rows one for each chunk: one of them")
    params = making.params(prefix_for(app, source.prefix, model), normalize=form.normalize, merge=not form.chunk_rows)
    rank = search.rerank is not None
    with (
        open_source(app.console, texts, source) as items,
        app.interrupts.guard() as guard,
        open_embedder(app, model, context, making, rank=rank) as embedder,
    ):
        guard.cancel = embedder.cancel
        if search.any:
            from llamacli.cli.embed.search import run_search

            run_search(app, embedder, items, params, search, output)
        else:
            if embedder.pooling == "rank":
                app.console.note(f"{embedder.name} is a reranking model: these are scores, not vectors (see --rerank)")
            write_vectors(app, embedder, items, params, output)


embed.groups = {"index": "llamacli.cli.embed.index"}


def write_vectors(app: AppContext, embedder: Embedder, items: Source, params: EmbeddingParams, output: OutputOptions) -> None:
    """Embeds and writes all texts.

    Raises:
        RowsFailedError: some have no vector.
    """
    shape = shape_of(embedder, params)
    if output.resume and output.output is not None and is_whole(output.output):
        require_finished(app, embedder, items, params, output.output, output.format(terminal=False), shape)
        return
    failure = None
    with open_writer(app, output, shape) as (writer, kept):
        if kept.texts:
            if items.skip(kept.texts) < kept.texts:
                raise UsageError(f"{kept.texts:,} texts are done already, fewer were given", hint="leave out --resume")
            app.console.note(f"going on after {kept.texts:,} texts")
        try:
            for item, outcome in outcomes(app, embedder, items, params, before=(kept.texts, kept.failed)):
                writer.add(item, outcome)
        except RowsFailedError as error:  # what was written is whole: each of these texts has its error in its place
            failure = error
    if failure is not None:
        raise failure


@contextmanager
def open_writer(app: AppContext, output: OutputOptions, shape: Shape) -> Iterator[tuple[Writer, Kept]]:
    """Where the vectors go, and what is there already."""
    from llamacli.batch import vector_formats as forms
    from llamacli.batch.vector_file import open_output
    from llamacli.batch.vector_resume import NOTHING

    console = app.console
    kind = output.format(terminal=console.terminals.stdout)
    if output.output is not None:
        with open_output(console, output.output, kind, shape, resume=output.resume) as opened:
            yield opened
        return
    if kind == "raw" and console.terminals.stdout:
        raise UsageError("--raw would fill the terminal with bytes", hint="send it to a file or a pipe")
    write = console.write_bytes
    writer: Writer
    if kind == "view":
        writer = forms.View(write, width=console.width)
    elif kind == "json":
        writer = forms.JsonDocument(write, nested=shape.nested or shape.chunks, model=shape.model)
    elif kind == "csv":
        writer = forms.Csv(write, dims=shape.dims)
    elif kind == "raw":
        writer = forms.Raw(write, dims=shape.dims)
    else:
        writer = forms.JsonLines(write, nested=shape.nested, chunks=shape.chunks)
    yield writer, NOTHING
    writer.close()


def require_finished(
    app: AppContext,
    embedder: Embedder,
    items: Source,
    params: EmbeddingParams,
    path: Path,
    kind: OutputFormat,
    shape: Shape,
) -> None:
    """Says that there is nothing to do, if the file that an earlier run finished is what was asked for.

    Raises:
        UsageError: it is not.
        RowsFailedError: it is, and some of its texts have no vector.
    """
    from llamacli.batch.vector_file import require_form
    from llamacli.batch.vector_resume import finished_texts

    require_form(path, kind, shape, resume=True)
    kept = finished_texts(embedder, items, params, path, kind, shape.dims)
    app.console.note(f"{path} is complete: nothing to do")
    if kept.failed:
        raise rows_failed(kept.failed, kept.texts, None)


def is_whole(path: Path) -> bool:
    """Whether an earlier run finished the file."""
    return path.exists() and not path.with_name(path.name + ".partial.json").exists()


def shape_of(embedder: Embedder, params: EmbeddingParams) -> Shape:
    """What the vectors of this model will be like."""
    from llamacli.batch.vector_file import Shape

    def settings() -> str:
        import hashlib

        values = [embedder.fingerprint(), embedder.pooling, embedder.attention, embedder.limit, str(params)]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    return Shape(
        model=embedder.name,
        dims=params.dims or embedder.width,
        nested=embedder.pooling == "none",
        chunks=not params.merge,
        settings=settings,
    )
