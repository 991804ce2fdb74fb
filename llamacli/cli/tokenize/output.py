"""What `tokenize` writes: each kind of output takes the chunks as they come, and says at the end what belongs there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING

from llamacli.cli.framework.context import AppContext
from llamacli.engine.tokenization.spans import Spans
from llamacli.engine.tokenization.tokenizer import Chunk
from llamacli.errors import LlamacliError, RowsFailedError
from llamacli.render.text import escape_line
from llamacli.render.tokenize.json import (
    Token,
    TokenObjects,
    begin_document,
    counts_document,
    end_document,
    extensions_document,
    json_text,
    sizes,
)
from llamacli.render.tokenize.view import (
    Count,
    TokenView,
    format_counts,
    format_extensions,
    format_ids,
    format_summary,
    total_of,
)

if TYPE_CHECKING:
    from llamacli.engine.runtime.vocabulary import Vocabulary
    from llamacli.engine.tokenization.tokenizer import NotTokenized


class Output:
    """Takes the chunks of one document after the other, and counts.

    `total` is the sum of the documents that have ended, `ended` and `failed` how many did and how many could not be tokenized
    (`first_error`: why the first of them). `bytes_done` has the unfinished document's, too.
    """

    tells_errors = False
    """Whether an error is in what is written, so that it need not be told on standard error as well."""

    def __init__(self, app: AppContext) -> None:
        self.app = app
        self.total = Count("total", 0, 0)
        self.ended = self.failed = self.bytes_done = 0
        self.first_error: LlamacliError | None = None

    def write_all(self, outcomes: Iterable[Chunk | NotTokenized], *, keeps_going: bool) -> None:
        """Writes everything. Raises a document's error, but if it `keeps_going`: then `check` does that in the end."""
        is_begun, tokens, size = False, 0, 0
        for outcome in outcomes:
            if not isinstance(outcome, Chunk):
                if is_begun or keeps_going:
                    self.fail(Count(outcome.document.name, 0, 0, outcome.error), is_begun=is_begun)
                if not keeps_going:
                    raise outcome.error
                self._failed(outcome)
                is_begun = False
                continue
            part = outcome.part
            if part.is_first:
                is_begun, tokens, size = True, 0, 0
                self.begin(part.document.name)
            tokens += len(outcome.tokens)
            size += len(part.data)
            self.bytes_done += len(part.data)
            self.add(outcome)
            if part.is_last:
                self.total = Count("total", self.total.tokens + tokens, self.total.bytes + size)
                self.end(Count(part.document.name, tokens, size))
                self.ended += 1
                is_begun = False
        self.finish()

    def check(self) -> None:
        """Raises RowsFailedError if some documents could not be tokenized."""
        if self.first_error is None:
            return
        total = self.failed + self.ended
        reason = ("" if self.failed == 1 else "the first: ") + self.first_error.message
        raise RowsFailedError(
            f"{self.failed:,} of {total:,} texts could not be tokenized" + (f": {reason}" if self.tells_errors else ""),
            failed=self.failed,
            total=total,
            hint=self.first_error.hint if self.tells_errors else None,
        )

    def begin(self, name: str) -> None:
        """Before the first chunk of a document."""

    def add(self, chunk: Chunk) -> None:
        """A chunk."""

    def end(self, count: Count) -> None:
        """After the last chunk of a document."""

    def fail(self, count: Count, *, is_begun: bool) -> None:
        """In the place of a document, or of the rest of one that `is_begun`; `count.error` says why."""

    def finish(self) -> None:
        """After the last document."""

    def _failed(self, outcome: NotTokenized) -> None:
        self.failed += 1
        self.first_error = self.first_error or outcome.error
        if not self.tells_errors:
            name, text = outcome.document.name, str(outcome.error)
            self.app.console.warn(text if name in text else f"{name}: {text}")


class Counts(Output):
    """Numbers alone; `as_json` for programs, `by_extension` summed up by the files' extensions."""

    def __init__(self, app: AppContext, model: str, *, as_json: bool, by_extension: bool) -> None:
        super().__init__(app)
        self._model = model
        self._as_json = as_json
        self._by_extension = by_extension
        self._counts: list[Count] = []

    def end(self, count: Count) -> None:
        """Kept until all are there."""
        self._counts.append(count)

    def fail(self, count: Count, *, is_begun: bool) -> None:
        """Kept as well: in JSON the error stands in its place."""
        self._counts.append(count)

    def finish(self) -> None:
        """All of it."""
        if self._by_extension:
            groups = by_extension(self._counts)
            document = extensions_document(self._model, groups)
            text = format_extensions(groups, width=table_width(self.app))
        else:
            document = counts_document(self._model, self._counts)
            text = format_counts(self._counts)
        if self._as_json:
            self.app.console.write(json.dumps(document) + "\n")
        else:
            self.app.console.show(text)


class Ids(Output):
    """A line of ids for each document; `as_json` makes each a JSON list. One that fails has an empty line, or null."""

    def __init__(self, app: AppContext, *, as_json: bool) -> None:
        super().__init__(app)
        self._as_json = as_json
        self._separator = ", " if as_json else " "
        self._started = False

    def begin(self, name: str) -> None:
        """The opening bracket."""
        self._started = False
        if self._as_json:
            self.app.console.write("[")

    def add(self, chunk: Chunk) -> None:
        """The ids, after a separator if there were some."""
        if chunk.tokens:
            text = format_ids(chunk.tokens, self._separator)
            self.app.console.write(self._separator + text if self._started else text)
            self._started = True

    def end(self, count: Count) -> None:
        """The closing bracket and the newline."""
        self.app.console.write("]\n" if self._as_json else "\n")

    def fail(self, count: Count, *, is_begun: bool) -> None:
        """What was begun is ended."""
        if is_begun:
            self.end(count)
        else:
            self.app.console.write("null\n" if self._as_json else "\n")


class _Described(Output):
    """Output that needs pieces and spans."""

    def __init__(self, app: AppContext, vocabulary: Vocabulary) -> None:
        super().__init__(app)
        self._vocabulary = vocabulary
        self._spans = Spans(vocabulary)
        self._controls: dict[int, bool] = {}

    def is_control(self, token: int) -> bool:
        """Whether it is a control token."""
        if token not in self._controls:
            self._controls[token] = self._vocabulary.is_control(token)
        return self._controls[token]

    def tokens(self, chunk: Chunk) -> list[Token]:
        """The tokens of a chunk with all that is known of them."""
        spans, piece, is_control = self._spans.of(chunk), self._spans.piece, self.is_control
        return [(token, piece(token), span, is_control(token)) for token, span in zip(chunk.tokens, spans, strict=True)]


class Json(_Described):
    """One JSON document. With `several` it has a list of documents; with `lines`, a document on a line of its own for each."""

    def __init__(self, app: AppContext, vocabulary: Vocabulary, model: str, *, several: bool, lines: bool) -> None:
        super().__init__(app, vocabulary)
        self._model = model
        self._several = several and not lines
        self.tells_errors = lines
        self._objects = TokenObjects()
        self._started = False

    def begin(self, name: str) -> None:
        """The object up to its tokens."""
        self._started = False
        self.app.console.write(self._opening() + begin_document(**self._heading(name)))

    def add(self, chunk: Chunk) -> None:
        """The tokens."""
        if chunk.tokens:
            text = self._objects.format(self.tokens(chunk))
            self.app.console.write(", " + text if self._started else text)
            self._started = True

    def end(self, count: Count) -> None:
        """The rest of the object."""
        self.app.console.write(end_document(count) + ("" if self._several else "\n"))

    def fail(self, count: Count, *, is_begun: bool) -> None:
        """An object with the error. If it was begun, the tokens that were written stay in it."""
        whole = "" if is_begun else self._opening() + json.dumps({**self._heading(count.name), **sizes(count)})
        self.app.console.write((whole or end_document(count)) + ("" if self._several else "\n"))

    def finish(self) -> None:
        """The rest of the list."""
        if self._several:
            self.app.console.write("], " + json.dumps(sizes(self.total))[1:] + "\n")

    def _opening(self) -> str:
        if not self._several:
            return ""
        return ", " if self.ended or self.failed else json.dumps({"model": self._model})[:-1] + ', "documents": ['

    def _heading(self, name: str) -> dict[str, str]:
        if self.tells_errors:
            return {}
        return {"name": json_text(name)} if self._several else {"model": self._model}


class View(_Described):
    """For people: pieces over ids, and a summary."""

    def __init__(self, app: AppContext, vocabulary: Vocabulary, *, several: bool) -> None:
        super().__init__(app, vocabulary)
        self._several = several
        self._view = TokenView(self._paint, width=app.console.width)

    def _paint(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self.app.console.stdout_color else text

    def begin(self, name: str) -> None:
        """The document's name, if there are several."""
        if self._several:
            self.app.console.write(f"{escape_line(name)}\n")

    def add(self, chunk: Chunk) -> None:
        """The rows that are complete."""
        rows = [self._view.add(token, self._spans.piece(token), is_control=self.is_control(token)) for token in chunk.tokens]
        if text := "".join(rows):
            self.app.console.write(text)

    def end(self, count: Count) -> None:
        """The last row and the summary."""
        self.app.console.write(self._view.finish() + self._paint(format_summary(count), "1") + "\n")

    def fail(self, count: Count, *, is_begun: bool) -> None:
        """The row that was begun."""
        self.app.console.write(self._view.finish())

    def finish(self) -> None:
        """The sum, if there are several."""
        if self._several:
            self.app.console.write("\ntotal: " + format_summary(self.total) + "\n")


def table_width(app: AppContext) -> int | None:
    """The columns that a table may have: what is no terminal takes any number."""
    return app.console.width if app.console.terminals.stdout else None


def by_extension(counts: Iterable[Count]) -> list[tuple[str, int, Count]]:
    """Extension, number of files and sum; the most tokens first."""
    groups: dict[str, list[Count]] = {}
    for count in counts:
        if count.error is not None:
            continue
        groups.setdefault(PurePath(count.name).suffix.lower() or "(none)", []).append(count)
    summed = [(extension, len(own), total_of(own)) for extension, own in groups.items()]
    return sorted(summed, key=lambda group: (-group[2].tokens, group[0]))
