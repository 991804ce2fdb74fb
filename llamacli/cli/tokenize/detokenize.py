"""`tokenize --detokenize`: ids back to the bytes that they represent."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import RemoteOptions
from llamacli.cli.tokenize import vocabulary
from llamacli.cli.tokenize.ids import read_ids
from llamacli.cli.tokenize.input import find_input
from llamacli.cli.tokenize.options import TextOptions, VocabularyOptions


def detokenize(
    app: AppContext, words: tuple[str, ...], source: TextOptions, model: VocabularyOptions, remote: RemoteOptions
) -> None:
    """Write the bytes of the ids in the arguments, files or standard input."""
    if words and not source.file and words != ("-",):
        words = (" ".join(words),)
    documents = find_input(app, words, source.file, live=True).documents
    with vocabulary.open_vocabulary(app, model, remote) as (loaded, _):
        texts = (ids for document in documents for ids in read_ids(document.blocks(), document.name))
        stretches = loaded.detokenize(texts, special=source.special, wrap=source.bos)
        if app.console.terminals.stdout:
            _show(app, stretches)
        else:
            for data, _ in stretches:
                app.console.write_bytes(data)


def _show(app: AppContext, stretches: Iterable[tuple[bytes, bool]]) -> None:
    """Write the stretches of texts to a terminal: control characters escaped, and a newline at the end."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    last = "\n"
    for data, ends_text in stretches:
        if text := decoder.decode(data, ends_text):
            app.console.show(text)
            last = text
    if not last.endswith("\n"):
        app.console.write("\n")
