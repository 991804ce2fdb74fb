"""The index of a conversation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.index.options import IndexOptions
from llamacli.cli.framework.options import ModelOptions, RemoteOptions
from llamacli.repl.setup import IndexSetup


@contextmanager
def open_index(
    app: AppContext, options: IndexOptions, model: ModelOptions, remote: RemoteOptions, *, keep_alive: float | None
) -> Iterator[IndexSetup | None]:
    """Open the index of the options, if they name one. Its models stay for the conversation.

    Raises:
        UsageError: if there is no such index, or it is empty.
    """
    if options.index is None:
        yield None
        return
    from llamacli.cli.framework.index.finder import open_finder

    guard = partial(app.interrupts.guard, grace=None)
    with open_finder(app, options, model, remote, keep_alive=keep_alive, guard=guard) as finder:
        yield IndexSetup(
            name=str(options.index),
            count=finder.count,
            find=lambda question: finder.find(question, options.passages, options.search_mode),
            budget=options.passage_tokens,
        )
