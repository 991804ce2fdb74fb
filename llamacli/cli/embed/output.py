"""The output of `embed`: vectors to a terminal, standard output or a file, new or resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from llamacli.batch.formats import NOTHING, Kept
from llamacli.batch.texts import Item, TextSource
from llamacli.batch.vector_file import Shape, open_output, partial_files, require_form, stream_writer
from llamacli.batch.vector_formats import Writer
from llamacli.cli.embed.options import OutputOptions
from llamacli.cli.embed.session import outcomes, rows_failed
from llamacli.cli.framework.backends.embedding import Vectorizer
from llamacli.cli.framework.context import AppContext
from llamacli.engine.embedding.outcome import NotEmbedded, Outcome
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.errors import RowsFailedError, UsageError
from llamacli.render.embed import SHOWN_ROWS, format_failed_row, format_more, format_view_row
from llamacli.units import counted


class View:
    """A line for each of the first texts, for the user: never pages of numbers."""

    def __init__(self, write: Callable[[str], None], *, width: int) -> None:
        self._write, self._width, self._count = write, width, 0

    def add(self, item: Item, outcome: Outcome) -> None:
        """Write the line of a text, unless the view is full."""
        self._count += 1
        if self._count > SHOWN_ROWS:
            return
        if isinstance(outcome, NotEmbedded):
            self._write(format_failed_row(self._count, item.shown, outcome.error, width=self._width))
        else:
            self._write(format_view_row(self._count, item.shown, outcome.rows, outcome.tokens, width=self._width))

    def close(self) -> None:
        """Write how many texts are not shown."""
        if self._count > SHOWN_ROWS:
            self._write(format_more(self._count - SHOWN_ROWS, width=self._width))


def write_vectors(
    app: AppContext, embedder: Vectorizer, items: TextSource, params: EmbeddingParams, output: OutputOptions
) -> None:
    """Embed all texts and write their vectors.

    Raises:
        RowsFailedError: if some texts have no vector.
    """
    shape = shape_of(embedder, params)
    if output.resume and output.output is not None and _is_finished(output.output):
        _require_finished(app, embedder, items, params, output, shape)
        return
    failure = None
    with _open_writer(app, output, shape) as (writer, kept):
        if kept.texts:
            if items.skip(kept.texts) < kept.texts:
                message = (
                    f"{counted(kept.texts, 'text')} {'is' if kept.texts == 1 else 'are'} done already, but fewer were given"
                )
                raise UsageError(message, hint="leave out --resume")
            app.console.note(f"resuming after {counted(kept.texts, 'text')}")
        try:
            for item, outcome in outcomes(app, embedder, items, params, before=(kept.texts, kept.failed)):
                writer.add(item, outcome)
        except RowsFailedError as error:  # the output is complete: each failed text has its error in its place
            failure = error
    if failure is not None:
        raise failure


@contextmanager
def _open_writer(app: AppContext, output: OutputOptions, shape: Shape) -> Iterator[tuple[Writer, Kept]]:
    """Open the file or standard output: yield the writer, and the texts that the file has already."""
    console = app.console
    kind = output.format(terminal=console.terminals.stdout)
    if output.output is not None:
        with open_output(output.output, kind, shape, resume=output.resume, note=console.note) as opened:
            yield opened
        return
    if kind == "raw" and console.terminals.stdout:
        raise UsageError("--raw does not write bytes to a terminal", hint="redirect it to a file or a pipe")
    writer = View(console.write, width=console.width) if kind == "view" else stream_writer(console.write_bytes, kind, shape)
    yield writer, NOTHING
    writer.close()


def _require_finished(
    app: AppContext, embedder: Vectorizer, items: TextSource, params: EmbeddingParams, output: OutputOptions, shape: Shape
) -> None:
    """Check that a finished file is what this run would write, and report that it is complete.

    Raises:
        UsageError: if it is not.
        RowsFailedError: if it is, and some of its texts have no vector.
    """
    from llamacli.batch.vector_resume import finished_texts  # imports NumPy

    path, kind = output.output, output.format(terminal=False)
    assert path is not None
    require_form(path, kind, shape, resume=True)
    kept = finished_texts(embedder, items, params, path, kind, shape.dims)
    app.console.note(f"{path} is complete: nothing to do")
    if kept.failed:
        raise rows_failed(kept.failed, kept.texts, None)


def _is_finished(path: Path) -> bool:
    """Return whether an earlier run finished the file."""
    _, mark = partial_files(path)
    return path.exists() and not mark.exists()


def shape_of(embedder: Vectorizer, params: EmbeddingParams) -> Shape:
    """Return the shape of the vectors that a model makes with these parameters."""

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
