"""The documents of `chat`: those that `-f` sends with the first message, and those of `/file`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.attachments import media_kind, read_named, split_media
from llamacli.cli.framework.inputs.documents import Access, DocumentInput, describe
from llamacli.cli.framework.inputs.files import STDIN
from llamacli.cli.framework.options import DocumentOptions
from llamacli.errors import UsageError
from llamacli.media.kind import MediaKind
from llamacli.repl.setup import Attachment


def read_first(console: Console, options: DocumentOptions, access: Access) -> tuple[Attachment, ...]:
    """Return the documents for the first message, and say what each is.

    Raises:
        UsageError, FetchError, CapacityError: if one cannot be read.
    """
    if STDIN in options.file:
        raise UsageError("standard input cannot be a document of a conversation", hint="llamacli run reads it")
    files, media = split_media(options.file)
    with DocumentInput(console, access) as documents:
        found = []
        for one in documents.read_all(files):
            console.note(describe(one.document))
            found.append(Attachment(one.document.name, one.titled))
    return (*(Attachment(one.name, media=one.read()) for one in media), *found)


def first_kinds(options: DocumentOptions) -> set[MediaKind]:
    """Return the kinds of images and sounds among the documents for the first message."""
    return {one.kind for one in split_media(options.file)[1]}


def reader(console: Console, access: Access) -> Callable[[str], tuple[Attachment, ...]]:
    """Return what reads the documents that a word names, for `/file`, where a folder needs no `-r`."""
    access = replace(access, recursive=True)

    def read(word: str) -> tuple[Attachment, ...]:
        if word == STDIN:
            raise UsageError("/file reads no standard input")
        if is_media(word):
            return (read_media(word, None),)
        with DocumentInput(console, access) as documents:
            return tuple(Attachment(one.document.name, one.titled) for one in documents.read_all([word]))

    return read


def read_media(word: str, kind: MediaKind | None) -> Attachment:
    """Return the image or sound in a file. Raises as `attachments.Attachment.read`."""
    found = kind or media_kind(Path(word))
    return Attachment(word, media=read_named(word, found or "image"))


def is_media(word: str) -> bool:
    """Return whether a word names a file that is an image or sound by its content."""
    return media_kind(Path(word)) is not None
