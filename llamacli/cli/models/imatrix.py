"""`llamacli models imatrix`: find out what matters in a model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.files import STDIN, read_text_file
from llamacli.cli.framework.options import ContextOptions, ModelOptions
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import CancelledError, UsageError
from llamacli.store.files.new_file import new_file
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.cli.framework.terminal.signals import Guard
    from llamacli.engine.quantization.importance import Importance

GRACE_SECONDS = 10.0
"""Seconds that a chunk may take after Ctrl-C."""

_CHUNK = 512


@command(
    examples=(
        ("Collect from a text of your own.", "llamacli models imatrix -m f16.gguf notes.txt -o notes.gguf"),
        ("Collect from the first 100 chunks.", "llamacli models imatrix -m f16.gguf big.txt -o big.gguf --chunks 100"),
        ("Add up two matrices.", "llamacli models imatrix --in-file a.gguf --in-file b.gguf -o both.gguf"),
    ),
    common=("-m", "-o", "--in-file", "--chunks", "-c", "-ngl", "-t"),
)
def imatrix(
    app: AppContext,
    text: Annotated[tuple[Path, ...], argument(metavar="TEXT", help="Files of text; - is standard input.")] = (),
    *,
    output: Annotated[
        Path | None, option("-o", "--output", metavar="FILE", environment=False, help="Output file, which must not exist.")
    ] = None,
    in_file: Annotated[
        tuple[Path, ...],
        option("--in-file", metavar="FILE", environment=False, help="Importance matrix to add; can be repeated."),
    ] = (),
    chunks: Annotated[
        int | None, option("--chunks", metavar="N", shows="all", environment=False, help="Maximum number of chunks.")
    ] = None,
    process_output: Annotated[
        bool, option("--process-output", environment=False, help="Also collect for the output matrix.")
    ] = False,
    model: ModelOptions,
    context: ContextOptions,
) -> None:
    """Find out what matters in a model's weights, for `models quantize --imatrix`.

    Evaluates a text in chunks of -c tokens (512) and adds up the squares of what each column of each matrix is multiplied with,
    as llama-imatrix does: files of both can be used and combined. The text should be like what the model will be used for; a
    hundred chunks are enough. Ctrl-C writes what was collected so far.
    """
    from llamacli.engine.quantization.importance import merged, read_importance, write_importance

    if output is None:
        raise UsageError("-o is missing", hint="-o FILE is where the importance matrix is written")
    if chunks is not None and chunks < 1:
        raise UsageError("--chunks must be at least 1")
    if not text and not in_file:
        raise UsageError("there is nothing to collect from", hint="name a text, or files with --in-file")
    parts = [read_importance(path) for path in in_file]
    with app.interrupts.guard(grace=GRACE_SECONDS) as guard, new_file(output) as part:
        if text:
            setup = model, context
            parts.append(_collected(app, text, setup, chunks, guard, with_output=process_output))
        found = merged(parts)
        with part.open("wb") as file:
            write_importance(file, found)
    app.console.note(f"{output}: {counted(len(found.entries), 'weight')}, {counted(found.chunks, 'chunk')}")


def _collected(
    app: AppContext,
    text: tuple[Path, ...],
    setup: tuple[ModelOptions, ContextOptions],
    chunks: int | None,
    guard: Guard,
    *,
    with_output: bool,
) -> Importance:
    """Return what a text gives; after a signal, what it gave so far. Raises CancelledError if that is nothing."""
    from llamacli.backend.child.quantizer import Collection
    from llamacli.engine.quantization.importance import Importance, ImportanceEntry
    from llamacli.engine.quantization.types import CollectRequest

    model, context = setup
    data = "".join(app.console.read_input() if str(file) == STDIN else read_text_file(file) for file in text).encode()
    n_ctx = context.ctx_size or _CHUNK
    request = CollectRequest(
        path=str(app.find_model(app, model.model, offline=model.offline)),
        model=model.params(),
        context=context.params(),
        text=data,
        n_ctx=n_ctx,
        chunks=chunks,
        with_output=with_output,
    )
    entries, done = [], 0
    with Collection(request, model.child()) as collection, app.progress() as line:
        guard.cancel = collection.stop
        for event in collection.events():
            if isinstance(event, ImportanceEntry):
                entries.append(event)
            else:
                done = event.done
                line.update("collecting", done, event.total)
    if not entries:
        raise CancelledError("cancelled")
    return Importance(tuple(entries), tuple(map(str, text)), done, n_ctx)
