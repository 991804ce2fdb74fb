"""Output files: written under another name until they are whole, and gone on with where an interrupted run stopped."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llamacli.batch import vector_formats as forms
from llamacli.batch.vector_resume import NOTHING, Kept, whole_texts
from llamacli.cli.embed.options import RESUMABLE, OutputFormat
from llamacli.cli.framework.console import Console
from llamacli.errors import LlamacliError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the vectors are like. `settings()` is the same for runs that would write the same; it reads the model's file.

    `nested`: a text has a vector for each token; `chunks`: for each chunk.
    """

    model: str
    dims: int
    nested: bool
    chunks: bool
    settings: Callable[[], str]


@contextmanager
def open_output(
    console: Console, target: Path, kind: OutputFormat, shape: Shape, *, resume: bool
) -> Iterator[tuple[forms.Writer, Kept]]:
    """A writer for the file, and what is in it already. The file has its name only if the block ends well.

    What an interrupted run wrote is kept in `TARGET.partial` if it can be gone on with.

    Raises:
        UsageError: resuming what was made with other settings, or a form that cannot hold these vectors.
        LlamacliError: the file cannot be written, or another process is writing it.
    """
    require_form(target, kind, shape, resume=resume)
    partial = target.with_name(target.name + ".partial")
    mark = target.with_name(target.name + ".partial.json")
    try:
        with _alone(target, partial), ExitStack() as stack:
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
                with contextlib.suppress(OSError):  # a full disk takes what is still in buffers no more than what came before
                    stack.close()
                _keep_or_drop(console, partial, mark, kind)
                raise
            partial.replace(target)
            mark.unlink(missing_ok=True)
    except OSError as error:
        raise LlamacliError(f"cannot write {target}: {error.strerror or error}") from error


def require_form(target: Path, kind: OutputFormat, shape: Shape, *, resume: bool) -> None:
    """Raises UsageError if the file cannot be written, or if its form cannot hold these vectors."""
    if target.exists() and not target.is_file():
        raise UsageError(f"{target} is no regular file", hint="standard output needs no -o")
    several = shape.nested or shape.chunks
    if several and (kind == "npy" or (resume and kind == "raw")):
        raise UsageError(
            f"{target}: texts have several vectors each, which this form cannot tell apart", hint="use .npz or .jsonl"
        )


@contextmanager
def _alone(target: Path, partial: Path) -> Iterator[None]:
    """Keeps other processes from the file while it is written. What one that was killed left behind locks nobody out."""
    from filelock import FileLock, Timeout

    if not target.parent.is_dir():  # which the lock would make
        raise LlamacliError(f"cannot write {target}: there is no folder {target.parent}")
    path = partial.with_name(partial.name + ".lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LlamacliError(f"cannot write {target}: another process is writing it", hint="name another file") from None
    except NotImplementedError:
        pass  # a file system without locks
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _writer(stack: ExitStack, partial: Path, kind: OutputFormat, shape: Shape, first: int) -> forms.Writer:
    if kind == "npz":
        rows, numbers = (stack.enter_context(path.open("r+b" if first else "w+b")) for path in forms.Npz.parts(partial))
        return forms.Npz(partial, rows, numbers, dims=shape.dims, first=first)
    if kind == "parquet":
        return forms.Parquet(partial)
    file = stack.enter_context(partial.open("r+b" if first else "w+b"))
    file.seek(0, os.SEEK_END)
    if kind == "npy":
        return forms.Npy(file, dims=shape.dims, rows=first)
    if kind == "raw":
        return forms.Raw(file.write, dims=shape.dims)
    if kind == "csv":
        return forms.Csv(file.write, dims=shape.dims, first=first)
    if kind == "json":
        return forms.JsonDocument(file.write, nested=shape.nested or shape.chunks, model=shape.model)
    return forms.JsonLines(file.write, nested=shape.nested, chunks=shape.chunks, first=first)


def _content(partial: Path, kind: OutputFormat) -> Path:
    """The file that grows with each text."""
    return forms.Npz.parts(partial)[0] if kind == "npz" else partial


def _keep_or_drop(console: Console, partial: Path, mark: Path, kind: OutputFormat) -> None:
    content = _content(partial, kind)
    if kind in RESUMABLE and mark.exists() and content.exists() and content.stat().st_size > forms.Npy.HEADER:
        console.note(f"what is done is kept in {content}; --resume goes on with it")
        if content != partial:
            partial.unlink(missing_ok=True)
        return
    _remove(partial)
    mark.unlink(missing_ok=True)


def _remove(partial: Path) -> None:
    for path in (partial, *forms.Npz.parts(partial)):
        path.unlink(missing_ok=True)


def _resume(partial: Path, mark: Path, kind: OutputFormat, shape: Shape) -> Kept:
    """What is there whole, after cutting off what is not."""
    try:
        settings = json.loads(mark.read_text(encoding="utf-8")).get("settings")
    except (OSError, ValueError, AttributeError):
        settings = None
    if settings != shape.settings():
        raise UsageError(f"{partial} was made by another model or with other options", hint="remove it, or leave out --resume")
    return whole_texts(partial, kind, shape.dims) if _content(partial, kind).exists() else NOTHING
