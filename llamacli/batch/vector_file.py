"""Output files of vectors: written under another name until they are complete, and resumed where an earlier run stopped."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llamacli.batch import vector_formats as forms
from llamacli.batch.formats import NOTHING, RESUMABLE, Kept, VectorFormat
from llamacli.batch.output_file import naming_file, sole_writer
from llamacli.errors import InvalidJSONError, LlamacliError, UsageError
from llamacli.json_text import parse_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The shape of the vectors. With `nested` a text has a vector for each token, with `chunks` one for each chunk.

    `settings()` returns a fingerprint, equal for runs that write the same vectors. It reads the model's file.
    """

    model: str
    dims: int
    nested: bool
    chunks: bool
    settings: Callable[[], str]


@contextmanager
def open_output(
    target: Path, kind: VectorFormat, shape: Shape, *, resume: bool, note: Callable[[str], None]
) -> Iterator[tuple[forms.Writer, Kept]]:
    """Open a file for vectors: yield its writer, and the texts that it has already.

    The file appears under its name only when the block ends without an exception. After an interruption, what can be resumed
    is kept in `TARGET.partial`, and `note` receives a line that says so.

    Raises:
        UsageError: if the format cannot hold these vectors, or the partial file was made with other settings.
        LlamacliError: if the file cannot be written, or another process is writing it.
    """
    require_form(target, kind, shape, resume=resume)
    if not target.parent.is_dir():
        raise LlamacliError(f"cannot write {target}: the directory {target.parent} does not exist")
    partial, mark = partial_files(target)
    with naming_file(target), sole_writer(target), ExitStack() as stack:
        kept = _resume(partial, mark, kind, shape) if resume and mark.exists() else NOTHING
        try:
            if not kept.texts:
                _remove(partial)
                if kind in RESUMABLE:
                    mark.write_text(json.dumps({"settings": shape.settings()}), encoding="utf-8")
            writer = _writer(stack, partial, kind, shape, kept.texts)
            yield writer, kept
            writer.close()
            stack.close()
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk rejects the buffered rest as well
                stack.close()
            _keep_or_remove(partial, mark, kind, note)
            raise
        partial.replace(target)
        mark.unlink(missing_ok=True)


def partial_files(target: Path) -> tuple[Path, Path]:
    """Return the paths of the incomplete file and of the mark with the settings of the run that writes it."""
    return target.with_name(target.name + ".partial"), target.with_name(target.name + ".partial.json")


def require_form(target: Path, kind: VectorFormat, shape: Shape, *, resume: bool) -> None:
    """Raise UsageError if the target is not a regular file, or its format cannot hold these vectors."""
    if target.exists() and not target.is_file():
        raise UsageError(f"{target} is not a regular file", hint="omit -o to write to standard output")
    several = shape.nested or shape.chunks
    if several and (kind == "npy" or (resume and kind == "raw")):
        raise UsageError(f"{target}: this format cannot hold several vectors per text", hint="use .npz or .jsonl")


def _writer(stack: ExitStack, partial: Path, kind: VectorFormat, shape: Shape, first: int) -> forms.Writer:
    if kind == "npz":
        rows, numbers = (stack.enter_context(path.open("r+b" if first else "w+b")) for path in forms.Npz.parts(partial))
        return forms.Npz(partial, rows, numbers, dims=shape.dims, first=first)
    if kind == "parquet":
        return forms.Parquet(partial)
    file = stack.enter_context(partial.open("r+b" if first else "w+b"))
    file.seek(0, os.SEEK_END)
    if kind == "npy":
        return forms.Npy(file, dims=shape.dims, rows=first)
    return stream_writer(file.write, kind, shape, first=first)


def stream_writer(write: forms.Write, kind: VectorFormat, shape: Shape, *, first: int = 0) -> forms.Writer:
    """Return the writer of a format that needs no file: json, jsonl, csv or raw. `first` is the index of the first text."""
    if kind == "raw":
        return forms.Raw(write, dims=shape.dims)
    if kind == "csv":
        return forms.Csv(write, dims=shape.dims, first=first)
    if kind == "json":
        return forms.JsonDocument(write, nested=shape.nested or shape.chunks, model=shape.model)
    return forms.JsonLines(write, nested=shape.nested, chunks=shape.chunks, first=first)


def _content(partial: Path, kind: VectorFormat) -> Path:
    """Return the path of the file that grows with each text."""
    return forms.Npz.parts(partial)[0] if kind == "npz" else partial


def _keep_or_remove(partial: Path, mark: Path, kind: VectorFormat, note: Callable[[str], None]) -> None:
    content = _content(partial, kind)
    if kind in RESUMABLE and mark.exists() and content.exists() and content.stat().st_size > forms.Npy.HEADER:
        note(f"the finished part is kept in {content}; resuming continues it")
        if content != partial:
            partial.unlink(missing_ok=True)
        return
    _remove(partial)
    mark.unlink(missing_ok=True)


def _remove(partial: Path) -> None:
    for path in (partial, *forms.Npz.parts(partial)):
        path.unlink(missing_ok=True)


def _resume(partial: Path, mark: Path, kind: VectorFormat, shape: Shape) -> Kept:
    """Return the texts that the partial file holds completely, after cutting off its incomplete end."""
    try:
        settings = parse_json(mark.read_bytes()).get("settings")
    except (OSError, InvalidJSONError, AttributeError):
        settings = None
    if settings != shape.settings():
        raise UsageError(
            f"{partial} was made by another model or with other options",
            hint="remove it, or leave out resume",
            parameter="resume",
        )
    if not _content(partial, kind).exists():
        return NOTHING
    from llamacli.batch.vector_resume import whole_texts  # imports NumPy

    return whole_texts(partial, kind, shape.dims)
