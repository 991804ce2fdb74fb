"""Input of `tokenize`: a text, files, directories or standard input, whole or line by line."""

from __future__ import annotations

import codecs
import io
import os
import re
import select
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from llamacli.cli.framework.context import AppContext
from llamacli.documents.formats import PDF, ZIP
from llamacli.engine.tokenization.documents import BLOCK, Document, text_document
from llamacli.errors import UsageError
from llamacli.media.kind import HEAD_BYTES, kind_of
from llamacli.units import counted

if TYPE_CHECKING:
    from contextlib import ExitStack

STDIN = "-"
STDIN_NAME = "standard input"

_SNIFFED = 8192
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Input:
    """Documents, their total bytes (None if unknown), and whether the command line names files."""

    documents: list[Document]
    size: int | None
    are_files: bool = False


def find_input(
    app: AppContext,
    words: tuple[str, ...],
    paths: tuple[str, ...],
    *,
    recursive: bool = False,
    replace: bool = False,
    live: bool = False,
) -> Input:
    """Return the documents that a command line names. With `paths`, words are files too, as a shell expands a pattern.

    With `live`, standard input yields blocks as they arrive, and an empty block before it has to wait.

    Raises:
        UsageError: if nothing is named and nothing piped, or a file does not exist or cannot be read.
    """
    stdin = Document(STDIN_NAME, lambda: (_live_blocks if live else _blocks)(app.console.input_stream()))
    if paths or recursive:
        return _files(app, (*paths, *words), stdin, recursive=recursive, replace=replace)
    if len(words) > 1:
        raise UsageError(f"unexpected argument: {words[1]}", hint="put text of several words in quotes")
    if words and words[0] != STDIN:
        data = os.fsencode(words[0])
        return Input([text_document("the text", data)], len(data))
    if not words and not app.console.has_piped_input:
        raise UsageError("no text given", hint="give one as an argument, with -f FILE, or on standard input")
    return Input([stdin], None)


def spooled(app: AppContext, found: Input, stack: ExitStack) -> Input:
    """Return input that can be read several times: standard input is copied to a temporary file until `stack` is closed."""
    documents = []
    for document in found.documents:
        if document.name == STDIN_NAME:
            import tempfile  # a slow import that few need

            kept = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
            for block in document.blocks():
                kept.write(block)
            documents.append(Document(STDIN_NAME, lambda kept=kept: _positioned(kept)))  # type: ignore[misc]
        else:
            documents.append(document)
    return Input(documents, found.size, found.are_files)


def lines_of(document: Document) -> Iterator[Document | None]:
    """Yield each line as a document, without its end, and None before waiting for the next."""
    count, started = 0, list[bytes]()
    for block in document.blocks():
        if not block:
            yield None
            continue
        *lines, rest = block.split(b"\n")
        if lines:
            lines[0] = b"".join((*started, lines[0]))
            started.clear()
        for line in lines:
            count += 1
            yield _line_document(document, count, line)
        started.append(rest)
    if last := b"".join(started):
        yield _line_document(document, count + 1, last)


def _line_document(document: Document, number: int, line: bytes) -> Document:
    return text_document(f"{document.name}, line {number}", line.removesuffix(b"\r"))


def _files(app: AppContext, names: tuple[str, ...], stdin: Document, *, recursive: bool, replace: bool) -> Input:
    documents: list[Document] = []
    size, skipped = 0, 0
    streams = False
    for name in names:
        if name == STDIN:
            if streams:
                raise UsageError("standard input can be read only once")
            streams = True
            documents.append(stdin)
            continue
        for path, is_named in _paths(name, recursive=recursive):
            if not is_named and not _is_text(app, path, replace=replace):
                skipped += 1
                continue
            documents.append(_file_document(path, replace=replace))
            size += path.stat().st_size
    if skipped:
        app.console.note(f"skipped {counted(skipped, 'file')} that {'is' if skipped == 1 else 'are'} not text")
    if not documents:
        raise UsageError("no text files found", hint="files whose names begin with a dot are skipped")
    return Input(documents, None if streams else size, are_files=True)


def _paths(name: str, *, recursive: bool) -> Iterator[tuple[Path, bool]]:
    """Yield the files that a word names, and whether it names exactly that file."""
    path = Path(name)
    try:
        is_directory, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {name}: {error}") from error
    if is_directory:
        if not recursive:
            raise UsageError(f"{name} is a directory", hint="-r reads the files in it")
        yield from ((found, False) for found in _walk(path))
    elif exists:
        yield path, True
    elif _GLOB.search(name):
        import glob

        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # Path.glob does not accept absolute patterns
        if not matches:
            raise UsageError(f"no file matches {name}")
        for match in map(Path, matches):
            if match.is_file():
                yield match, False
            elif recursive:
                yield from ((found, False) for found in _walk(match))
    else:
        raise UsageError(f"{name} does not exist")


def _walk(top: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _is_text(app: AppContext, path: Path, *, replace: bool) -> bool:
    """Return whether a file found in a directory is text. Warn about one that cannot be read, and skip it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as file:
            block = file.read(BLOCK)
            if b"\0" in block[:_SNIFFED] or (not replace and block.startswith((PDF, ZIP))):
                return False
            while block and not replace:
                decoder.decode(block)
                block = file.read(BLOCK)
            decoder.decode(b"", final=not replace)
    except UnicodeDecodeError:
        return False
    except OSError as error:
        app.console.warn(f"cannot read {path}: {error.strerror or error}")
        return False
    return True


def _file_document(path: Path, *, replace: bool) -> Document:
    def blocks() -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                if not replace:
                    _check_head(path, file.peek(HEAD_BYTES))
                yield from iter(lambda: file.read(BLOCK), b"")
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}") from error

    return Document(str(path), blocks)


def _check_head(path: Path, head: bytes) -> None:
    """Raise UsageError for a file that begins as a document, an image or a sound does."""
    if head.startswith((PDF, ZIP)):
        hint = f"llamacli run -f {path} --show-text | llamacli tokenize counts the tokens of its text"
        raise UsageError(f"{path} is a PDF document or a ZIP archive, not text", hint=hint)
    if (kind := kind_of(head)) is not None:
        hint = f'llamacli run -f {path} --dry-run "PROMPT" counts its tokens, and --chat those of messages that contain it'
        raise UsageError(f"{path} is {'an image' if kind == 'image' else 'a sound'}, not text", hint=hint)


def _blocks(stream: io.BufferedIOBase) -> Iterator[bytes]:
    try:
        yield from iter(lambda: stream.read(BLOCK), b"")
    except OSError as error:
        raise UsageError(f"cannot read {STDIN_NAME}: {error.strerror or error}") from error


def _live_blocks(stream: io.BufferedIOBase) -> Iterator[bytes]:
    try:
        while True:
            if not _is_ready(stream, 0):
                yield b""
                _is_ready(stream, None)
            block = stream.read1(BLOCK)
            if not block:
                return
            yield block
    except OSError as error:
        raise UsageError(f"cannot read {STDIN_NAME}: {error.strerror or error}") from error


def _is_ready(stream: io.BufferedIOBase, seconds: float | None) -> bool:
    """Return whether the stream has data or has ended within `seconds`. None waits for it."""
    try:
        return bool(select.select([stream], [], [], seconds)[0])
    except io.UnsupportedOperation:  # bytes in memory
        return True


def _positioned(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the blocks of a file from its beginning, though other readers move its position."""
    position = 0
    while True:
        file.seek(position)
        block = file.read(BLOCK)
        if not block:
            return
        position += len(block)
        yield block
