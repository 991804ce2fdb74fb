"""`tokenize --detokenize`: ids back to the bytes that they represent."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from llamacli.cli.framework.context import AppContext
from llamacli.cli.tokenize import vocabulary
from llamacli.cli.tokenize.ids import read_ids
from llamacli.cli.tokenize.input import find_input
from llamacli.cli.tokenize.options import TextOptions, VocabularyOptions
from llamacli.engine.tokenization.tokenizer import Detokenizer


def detokenize(app: AppContext, words: tuple[str, ...], source: TextOptions, options: VocabularyOptions) -> None:
    """Write the bytes of the ids in the arguments, files or standard input."""
    if words and not source.file and words != ("-",):
        words = (" ".join(words),)
    documents = find_input(app, words, source.file, live=True).documents
    path = app.find_model(app, options.model, offline=options.offline)
    with vocabulary.load(path) as model:
        detokenizer = Detokenizer(model.vocabulary, special=source.special, wrap=source.bos)
        texts = (detokenizer.document(ids) for document in documents for ids in read_ids(document.blocks(), document.name))
        if app.console.terminals.stdout:
            _show(app, texts)
        else:
            for parts in texts:
                for part in parts:
                    app.console.write_bytes(part)


def _show(app: AppContext, texts: Iterable[Iterable[bytes]]) -> None:
    """Write texts to a terminal: control characters escaped, and a newline at the end."""
    last = "\n"
    for parts in texts:
        for last in codecs.iterdecode(parts, "utf-8", errors="backslashreplace"):
            app.console.show(last)
    if not last.endswith("\n"):
        app.console.write("\n")
