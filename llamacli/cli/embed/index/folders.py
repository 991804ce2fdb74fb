"""The files of folders, brought up to date in an index once, or whenever they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.backend.child.documents import DocumentReader
from llamacli.batch.progress import format_left
from llamacli.cli.embed.index.model import require_model
from llamacli.cli.embed.session import rows_failed
from llamacli.cli.framework.backends.engine import DELAY_SECONDS
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import RemoteOptions
from llamacli.errors import UsageError
from llamacli.retrieval.update import Plan, Tally, Update, make_plan
from llamacli.store.vectors.entries import Root
from llamacli.store.vectors.index import VectorIndex
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.cli.framework.backends.embedding import Vectorizer
    from llamacli.engine.embedding.outcome import Outcome
    from llamacli.engine.embedding.params import EmbeddingParams

_LEAST_SECONDS = 1.0
_REST = 20
"""Between two looks at the files, `--watch` rests this many times as long as a look takes.

Looking again works on every file system, and needs no table of watched folders in the system, which has few places.
"""

_MOST_NAMED = 5
"""Files that were left out and are named, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The model of an index: how it is opened, and what it must be. `is_given`: the user named it, so that it is checked."""

    opened: Callable[[], AbstractContextManager[Vectorizer]]
    params: EmbeddingParams
    reference: str | None
    remote: RemoteOptions
    is_given: bool


class Follower:
    """Brings roots up to date. The model is loaded when a text needs it, and stays."""

    def __init__(self, app: AppContext, index: VectorIndex, models: Models, reader: DocumentReader, stack: ExitStack) -> None:
        self._app = app
        self._index = index
        self._models = models
        self._reader = reader
        self._stack = stack
        self._embedder: Vectorizer | None = None
        self._reported: set[str] = set()

    def check(self) -> None:
        """Load the model if the user named one, or if the index does not say which it is."""
        if self._models.is_given or not self._index.count():
            self._opened()

    def update(self, plan: Plan) -> Tally:
        """Bring a root up to date, with a progress bar."""
        started = time.monotonic()
        with self._app.progress(delay=DELAY_SECONDS) as bar:

            def show(done: int, total: int, passages: int) -> None:
                left = format_left(time.monotonic() - started, done, total)
                bar.update(f"embedding {counted(passages, 'passage')}{left}", done, total)

            update = Update(self._index, plan, self._reader.read_bytes, self._embed, show)
            try:
                update.run()
            finally:
                bar.finish()
                self._report(plan, update.tally)
        return update.tally

    def _embed(self, texts: Sequence[str]) -> Iterator[Outcome]:
        with self._app.interrupts.guard() as guard:
            embedder = self._opened()
            guard.cancel = embedder.cancel
            yield from embedder.embed(texts, self._models.params)

    def _opened(self) -> Vectorizer:
        if self._embedder is None:
            embedder = self._stack.enter_context(self._models.opened())
            require_model(self._index, embedder, self._models.params, self._models.reference, self._models.remote)
            self._embedder = embedder
        return self._embedder

    def _report(self, plan: Plan, tally: Tally) -> None:
        """Write what was done, and what was left out, if it was not reported before."""
        console = self._app.console
        unread = [reason for reason in tally.unread if reason not in self._reported]
        if tally.has_changes or unread or plan.root.path not in self._reported:
            console.note(
                f"{plan.root.path}: {counted(tally.new, 'file')} added, {tally.changed:,} changed, {tally.removed:,} removed, "
                f"{tally.unchanged:,} unchanged; {counted(self._index.count(), 'text')} in the index"
            )
        if tally.binary and plan.root.path not in self._reported:
            console.note(f"{counted(tally.binary, 'binary file')} left out")
        for reason in unread[:_MOST_NAMED]:
            console.warn(f"left out: {reason}")
        if len(unread) > _MOST_NAMED:
            console.warn(f"{counted(len(unread) - _MOST_NAMED, 'more file')} left out")
        self._reported.update([*unread, plan.root.path])


def update_roots(app: AppContext, index: VectorIndex, roots: Sequence[Root], models: Models, *, watch: bool) -> None:
    """Bring roots up to date; with `watch` again and again, until a signal.

    Raises:
        UsageError: if a root is missing, or the index is of another model.
        RowsFailedError: if some passages have no vector. The others were added.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(DocumentReader())
        follower = Follower(app, index, models, reader, stack)
        plans = [make_plan(index, root) for root in roots]
        follower.check()
        tallies = [follower.update(plan) for plan in plans]
        if watch:
            app.console.note("waiting for changes; Ctrl-C ends")
            _follow(app, index, roots, follower)
    failed = sum(tally.failed for tally in tallies)
    if failed:
        first = next(tally.first_failure for tally in tallies if tally.first_failure is not None)
        raise rows_failed(failed, max(failed, index.count()), first)


def _follow(app: AppContext, index: VectorIndex, roots: Sequence[Root], follower: Follower) -> None:
    """Update roots until a signal. One that is missing for a while is waited for."""
    missing: set[str] = set()
    while True:
        started = time.monotonic()
        plans = []
        for root in roots:
            try:
                plans.append(make_plan(index, root))
                missing.discard(root.path)
            except UsageError as error:
                if root.path not in missing:
                    app.console.warn(error.message)
                missing.add(root.path)
        looked = time.monotonic() - started
        for plan in plans:
            if plan.changed or plan.gone:
                follower.update(plan)
        time.sleep(max(_LEAST_SECONDS, _REST * looked))
