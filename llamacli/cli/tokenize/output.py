"""Output of `tokenize`: the base of all outputs, counts and ids. An output takes chunks one by one and counts them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING

from llamacli.cli.framework.context import AppContext
from llamacli.engine.tokenization.documents import Chunk
from llamacli.errors import LlamacliError, RowsFailedError
from llamacli.render.tokenize.json import counts_document, extensions_document
from llamacli.render.tokenize.view import Count, Paint, format_counts, format_extensions, format_ids, total_of
from llamacli.units import out_of

if TYPE_CHECKING:
    from llamacli.engine.tokenization.documents import NotTokenized


class Output:
    """The base of outputs: receives the chunks of one document after the other, and counts.

    `total` is the sum of the completed documents, `ended` their number, `failed` the number of failed documents and
    `first_error` the error of the first of these. `bytes_done` includes the current document.
    """

    reports_errors = False
    """True if the output contains the errors, so that none is repeated on standard error."""

    def __init__(self, app: AppContext) -> None:
        self.app = app
        self.total = Count("total", 0, 0)
        self.ended = self.failed = self.bytes_done = 0
        self.first_error: LlamacliError | None = None

    def write_all(self, outcomes: Iterable[Chunk | NotTokenized], *, keep_going: bool) -> None:
        """Write everything. Raise the first document's error at once, or with `keep_going` leave that to `check`."""
        is_started, tokens, size = False, 0, 0
        for outcome in outcomes:
            if not isinstance(outcome, Chunk):
                if is_started or keep_going:
                    self.fail(Count(outcome.document.name, 0, 0, outcome.error), is_started=is_started)
                if not keep_going:
                    raise outcome.error
                self._failed(outcome)
                is_started = False
                continue
            part = outcome.part
            if part.is_first:
                is_started, tokens, size = True, 0, 0
                self.begin(part.document.name)
            tokens += len(outcome.tokens)
            size += len(part.data)
            self.bytes_done += len(part.data)
            self.add(outcome)
            if part.is_last:
                self.total = Count("total", self.total.tokens + tokens, self.total.bytes + size)
                self.end(Count(part.document.name, tokens, size))
                self.ended += 1
                is_started = False
        self.finish()

    def check(self) -> None:
        """Raise RowsFailedError if some documents failed."""
        if self.first_error is None:
            return
        total = self.failed + self.ended
        reason = ("" if self.failed == 1 else "the first: ") + self.first_error.message
        raise RowsFailedError(
            f"{out_of(self.failed, total, 'text')} could not be tokenized" + (f": {reason}" if self.reports_errors else ""),
            failed=self.failed,
            total=total,
            hint=self.first_error.hint if self.reports_errors else None,
        )

    def begin(self, name: str) -> None:
        """Start a document, before its first chunk."""

    def add(self, chunk: Chunk) -> None:
        """Add a chunk."""

    def end(self, count: Count) -> None:
        """End a document, after its last chunk."""

    def fail(self, count: Count, *, is_started: bool) -> None:
        """Take the error of a document, `count.error`, in the place of it or of the rest of one that `is_started`."""

    def finish(self) -> None:
        """End the output, after the last document."""

    def _failed(self, outcome: NotTokenized) -> None:
        self.failed += 1
        self.first_error = self.first_error or outcome.error
        if not self.reports_errors:
            name, text = outcome.document.name, str(outcome.error)
            self.app.console.warn(text if name in text else f"{name}: {text}")


class Counts(Output):
    """Counts, with `as_json` as a document, with `by_extension` totalled by file extension."""

    def __init__(self, app: AppContext, model: str, *, as_json: bool, by_extension: bool) -> None:
        super().__init__(app)
        self._model = model
        self._as_json = as_json
        self._by_extension = by_extension
        self._counts: list[Count] = []

    def end(self, count: Count) -> None:
        """Keep the count until all are known."""
        self._counts.append(count)

    def fail(self, count: Count, *, is_started: bool) -> None:
        """Keep the error, which takes the place of a count in JSON."""
        self._counts.append(count)

    def finish(self) -> None:
        """Write all counts."""
        if self._by_extension:
            groups = by_extension(self._counts)
            document = extensions_document(self._model, groups)
            text = format_extensions(groups, width=self.app.console.line_width)
        else:
            document = counts_document(self._model, self._counts)
            text = format_counts(self._counts)
        if self._as_json:
            self.app.console.write(json.dumps(document) + "\n")
        else:
            self.app.console.show(text)


class Ids(Output):
    """A line of ids for each document, with `as_json` a JSON list. A failed document has an empty line, or null."""

    def __init__(self, app: AppContext, *, as_json: bool) -> None:
        super().__init__(app)
        self._as_json = as_json
        self._separator = ", " if as_json else " "
        self._started = False

    def begin(self, name: str) -> None:
        """Write the opening bracket."""
        self._started = False
        if self._as_json:
            self.app.console.write("[")

    def add(self, chunk: Chunk) -> None:
        """Write the ids, after a separator unless they are the first."""
        if chunk.tokens:
            text = format_ids(chunk.tokens, self._separator)
            self.app.console.write(self._separator + text if self._started else text)
            self._started = True

    def end(self, count: Count) -> None:
        """Write the closing bracket and the newline."""
        self.app.console.write("]\n" if self._as_json else "\n")

    def fail(self, count: Count, *, is_started: bool) -> None:
        """End a started document, or write the line of a failed one."""
        if is_started:
            self.end(count)
        else:
            self.app.console.write("null\n" if self._as_json else "\n")


def paint(app: AppContext) -> Paint:
    """Return the function that puts a text in a style, or leaves it plain where colours are off."""
    if not app.console.stdout_color:
        return lambda text, _style: text
    return lambda text, style: f"\x1b[{style}m{text}\x1b[0m"


def by_extension(counts: Iterable[Count]) -> list[tuple[str, int, Count]]:
    """Return extension, number of files and total, the most tokens first."""
    groups: dict[str, list[Count]] = {}
    for count in counts:
        if count.error is not None:
            continue
        groups.setdefault(PurePath(count.name).suffix.lower() or "(none)", []).append(count)
    summed = [(extension, len(own), total_of(own)) for extension, own in groups.items()]
    return sorted(summed, key=lambda group: (-group[2].tokens, group[0]))
