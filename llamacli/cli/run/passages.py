"""The passages of an index in the prompt of `run`, and where they are from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from llamacli.cli.framework.backends.engine import ModelSetup
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.index.options import IndexOptions

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend
    from llamacli.engine.chat.question import Question
    from llamacli.engine.events import Answer
    from llamacli.retrieval.quotation import Quotations
    from llamacli.retrieval.search import Found


def find_passages(app: AppContext, options: IndexOptions, setup: ModelSetup, prompt: str) -> list[Found]:
    """Return the passages that fit the prompt, best first; none without an index. Frees the models that it needs."""
    if options.index is None:
        return []
    from llamacli.cli.framework.index.finder import open_finder

    with open_finder(app, options, setup.model, setup.remote, keep_alive=setup.child.keep_alive) as finder:
        found = finder.find(prompt, options.passages, options.search_mode)
    if not found:
        app.console.note(f"{options.index} has no passage that fits")
    return found


def with_passages(
    engine: Backend, question: Question, found: Sequence[Found], options: IndexOptions
) -> tuple[Question, Quotations | None]:
    """Return the question after the passages that fit into the budget of tokens, and these; None without an index."""
    if options.index is None:
        return question, None
    from llamacli.retrieval.passages import token_counter
    from llamacli.retrieval.quotation import quote

    quotations = quote(found, options.passage_tokens, token_counter(engine))
    return replace(question, text=quotations.prompt(question.text)), quotations


def note_places(app: AppContext, quotations: Quotations, answers: Sequence[Answer]) -> None:
    """Write the places of the passages that answers cite to standard error; of all, if they cite none."""
    for quotation in quotations.cited(answer.content for answer in answers) or quotations.quotations:
        app.console.note(quotation.label)
