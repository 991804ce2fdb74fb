"""`tokenize --compare`: the same texts through several vocabularies."""

from __future__ import annotations

import contextlib
import json

from llamacli.cli.framework.context import AppContext
from llamacli.cli.tokenize import vocabulary
from llamacli.cli.tokenize.input import Input, spooled
from llamacli.cli.tokenize.options import OutputOptions, TextOptions, VocabularyOptions
from llamacli.cli.tokenize.output import paint
from llamacli.engine.tokenization.compare import MAX_DIFFERENCES, Comparison
from llamacli.engine.tokenization.compare import compare as compare_tokenizers
from llamacli.render.tokenize.json import comparison_document
from llamacli.render.tokenize.view import format_comparison, model_names


def compare(
    app: AppContext,
    found: Input,
    model: VocabularyOptions,
    *,
    source: TextOptions,
    output: OutputOptions,
) -> None:
    """Tokenize the texts with each model's vocabulary, and write counts and differences."""
    paths = [app.find_model(app, reference, offline=model.offline) for reference in (model.model, *model.compare)]
    with contextlib.ExitStack() as stack:
        found = spooled(app, found, stack)
        loaded = stack.enter_context(vocabulary.load(paths, model.child()))
        tokenizers = [
            vocabulary.tokenizer_for(loaded, number, source, describes=not output.count) for number in range(len(paths))
        ]
        guard = stack.enter_context(app.interrupts.guard())
        bar = stack.enter_context(app.progress(delay=vocabulary.PROGRESS_DELAY_SECONDS))
        guard.cancel = loaded.cancel
        result = compare_tokenizers(
            list(zip(model_names(paths), tokenizers, strict=True)),
            found.documents,
            max_differences=0 if output.count else MAX_DIFFERENCES,
            on_progress=lambda done: bar.update("comparing", done, found.size, unit="B"),
        )
    _write(app, result, output, several_documents=len(found.documents) > 1)


def _write(app: AppContext, result: Comparison, output: OutputOptions, *, several_documents: bool) -> None:
    if output.json:
        app.console.write(json.dumps(comparison_document(result)) + "\n")
        return
    text = format_comparison(
        result,
        paint(app),
        several_documents=several_documents,
        with_differences=not output.count,
        width=app.console.line_width,
    )
    app.console.write(text)
