"""Output files: written under another name until they are whole, and gone on with where an interrupted run stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from llamacli.cli import embed_output as forms
from llamacli.cli.console import Console
from llamacli.cli.embed_options import OutputFormat
from llamacli.errors import LlamacliError, UsageError

RESUMABLE: tuple[OutputFormat, ...] = ("jsonl", "npy", "raw")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the vectors are like. `settings` is the same for runs that would write the same.

    `nested`: a text has a vector for each token; `chunks`: for each chunk.
    """

    model: str
    dims: int
    nested: bool
    chunks: bool
    settings: str


@contextmanager
def open_output(
    console: Console, target: Path, kind: OutputFormat, shape: Shape, *, resume: bool
) -> Iterator[tuple[forms.Writer, int]]:
    """A writer for the file, and how many texts are in it already. The file has its name only if the block ends well.

    What an interrupted run wrote is kept in `TARGET.partial` if it can be gone on with.

    Raises:
        UsageError: resuming what was made with other settings, or a form that cannot hold these vectors.
        LlamacliError: the file cannot be written.
    """
    several = shape.nested or shape.chunks
    if several and (kind == "npy" or (resume and kind == "raw")):
        raise UsageError(
            f"{target}: texts have several vectors each, which this form cannot tell apart", hint="use .npz or .jsonl"
        )
    partial = target.with_name(target.name + ".partial")
    mark = target.with_name(target.name + ".partial.json")
    try:
        with ExitStack() as stack:
            first = _resume(partial, mark, kind, shape) if resume and partial.exists() else 0
            if not first:
                partial.unlink(missing_ok=True)
                if kind in RESUMABLE:
                    mark.write_text(json.dumps({"settings": shape.settings}), encoding="utf-8")
            writer = _writer(stack, partial, kind, shape, first)
            try:
                yield writer, first
                writer.close()
            except BaseException:
                stack.close()
                _keep_or_drop(console, partial, mark, kind)
                raise
        partial.replace(target)
        mark.unlink(missing_ok=True)
    except OSError as error:
        raise LlamacliError(f"cannot write {target}: {error.strerror or error}") from error


def _writer(stack: ExitStack, partial: Path, kind: OutputFormat, shape: Shape, first: int) -> forms.Writer:
    if kind == "npz":
        return forms.Npz(partial, dims=shape.dims)
    if kind == "parquet":
        return forms.Parquet(partial)
    file = stack.enter_context(partial.open("r+b" if first else "w+b"))
    file.seek(0, os.SEEK_END)
    if kind == "npy":
        return forms.Npy(file, dims=shape.dims, rows=first)
    if kind == "raw":
        return forms.Raw(file.write, dims=shape.dims)
    if kind == "csv":
        return forms.Csv(file.write, dims=shape.dims)
    if kind == "json":
        return forms.JsonDocument(file.write, nested=shape.nested, model=shape.model)
    return forms.JsonLines(file.write, nested=shape.nested, chunks=shape.chunks, first=first)


def _keep_or_drop(console: Console, partial: Path, mark: Path, kind: OutputFormat) -> None:
    if kind in RESUMABLE and partial.exists() and partial.stat().st_size > forms.Npy.HEADER:
        console.note(f"what is done is kept in {partial}; --resume goes on with it")
        return
    for path in (partial, mark, partial.with_name(partial.name + ".rows")):
        path.unlink(missing_ok=True)


def _resume(partial: Path, mark: Path, kind: OutputFormat, shape: Shape) -> int:
    """How many texts the file holds whole, after cutting off what is not."""
    try:
        settings = json.loads(mark.read_text(encoding="utf-8")).get("settings")
    except (OSError, ValueError, AttributeError):
        settings = None
    if settings != shape.settings:
        raise UsageError(f"{partial} was made by another model or with other options", hint="remove it, or leave out --resume")
    with partial.open("r+b") as file:
        if kind == "jsonl":
            count, size = _whole_texts(file)
        else:
            header = forms.Npy.HEADER if kind == "npy" else 0
            count = max(partial.stat().st_size - header, 0) // (4 * shape.dims)
            size = header + count * 4 * shape.dims
        file.truncate(size)
    return count


def _whole_texts(file: BinaryIO) -> tuple[int, int]:
    """How many texts are whole, and where they end. Of the last one lines may be missing, so that it does not count."""
    count, end, offset = 0, 0, 0
    for line in file:
        try:
            index = json.loads(line)["index"] if line.endswith(b"\n") else None
        except (ValueError, KeyError, TypeError):
            index = None
        if index is None:
            break
        if index != count:
            count, end = index, offset
        offset += len(line)
    return count, end
