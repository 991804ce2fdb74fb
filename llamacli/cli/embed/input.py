"""The texts that a command line of `embed` names: arguments, whole files, rows, and standard input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llamacli.batch.formats import format_of
from llamacli.batch.progress import input_size
from llamacli.batch.reader import open_rows
from llamacli.batch.texts import Item, TextSource, read_items
from llamacli.cli.embed.options import SourceOptions
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.files import STDIN, read_text_file
from llamacli.errors import UsageError

STDIN_NAME = "standard input"


def open_texts(console: Console, texts: Sequence[str], options: SourceOptions) -> TextSource:
    """Open the texts: arguments, then files, then rows. Without any of these, lines or rows of standard input.

    Raises:
        UsageError: if nothing is named and nothing piped, something cannot be read, or standard input is named twice.
    """
    nothing = not texts and not options.file and options.input is None
    if nothing and not console.has_piped_input:
        raise UsageError("no text given", hint="give texts as arguments, with -f or --input, or on standard input")
    if [*texts, *map(str, options.file), str(options.input)].count(STDIN) > 1:
        raise UsageError("standard input can be read only once", hint=f"write {STDIN} once")

    def stdin_items() -> Iterable[Item]:
        return read_items(console.input_stream(), options.input_format or "lines", name=STDIN_NAME, field=options.field)

    parts: list[Iterable[Item]] = [stdin_items() if text == STDIN else (Item(text),) for text in texts]
    parts += [(Item(console.read_input() if str(path) == STDIN else read_text_file(path), str(path)),) for path in options.file]
    file = None
    if nothing or str(options.input) == STDIN:
        parts.append(stdin_items())
    elif options.input is not None:
        file = open_rows(options.input)  # now, so that a missing file is reported before a model is loaded
        name = str(options.input)
        parts.append(read_items(file, options.input_format or format_of(name, "lines"), name=name, field=options.field))
    items = (item for part in parts for item in part)
    if all(isinstance(part, tuple) for part in parts):
        return TextSource(items, len(parts))
    return TextSource(items, input_size(file) if file is not None else None, file, in_bytes=True)
