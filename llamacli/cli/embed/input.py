"""The texts that a command line of `embed` names: arguments, whole files, rows, and standard input."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from llamacli.batch.formats import format_of
from llamacli.batch.progress import input_size
from llamacli.batch.reader import open_rows
from llamacli.batch.texts import Item, TextSource, read_items
from llamacli.cli.embed.options import SourceOptions
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.documents import STDIN_NAME, Access, DocumentInput
from llamacli.cli.framework.inputs.files import STDIN
from llamacli.errors import UsageError


def open_texts(console: Console, texts: Sequence[str], options: SourceOptions, access: Access) -> TextSource:
    """Open the texts: arguments, then documents, then rows. Without any of these, lines or rows of standard input.

    The documents that are named are read now, so that a missing one is reported before a model is loaded; those that are found
    in folders when they are needed.

    Raises:
        UsageError: if nothing is named and nothing piped, something cannot be read, or standard input is named twice.
    """
    nothing = not texts and not options.file and options.input is None
    if nothing and not console.has_piped_input:
        raise UsageError("no text given", hint="give texts as arguments, with -f or --input, or on standard input")
    if [*texts, *options.file, str(options.input)].count(STDIN) > 1:
        raise UsageError("standard input can be read only once", hint=f"write {STDIN} once")

    def stdin_items() -> Iterable[Item]:
        return read_items(console.input_stream(), options.input_format or "lines", name=STDIN_NAME, field=options.field)

    parts: list[Iterable[Item]] = [stdin_items() if text == STDIN else (Item(text),) for text in texts]
    with ExitStack() as opened:
        documents = opened.enter_context(DocumentInput(console, access))
        parts += [_documents(documents, word) for word in options.file]
        file = None
        if nothing or str(options.input) == STDIN:
            parts.append(stdin_items())
        elif options.input is not None:
            file = opened.enter_context(open_rows(options.input))  # now, so that a missing file is reported before loading
            name = str(options.input)
            parts.append(read_items(file, options.input_format or format_of(name, "lines"), name=name, field=options.field))
        items = (item for part in parts for item in part)
        closing = opened.pop_all()
    if all(isinstance(part, tuple) for part in parts):
        return TextSource(items, len(parts), closing)
    return TextSource(items, input_size(file) if file is not None else None, closing, in_bytes=True)


def _documents(documents: DocumentInput, word: str) -> Iterable[Item]:
    """Return the documents that a word names: a tuple of one, or those that are found, of which the first is read now."""
    found = documents.read_all([word])
    if documents.is_named(word):
        return tuple(Item(one.document.text, word) for one in found)
    return (Item(one.document.text, one.document.name) for one in itertools.chain([next(found)], found))
