"""What `tokenize` writes: each kind of output takes the chunks as they come, and says at the end what belongs there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING

from llamacli.cli.context import AppContext
from llamacli.engine.tokenizing_spans import Spans
from llamacli.render.tokenize import Count, TokenView, format_counts, format_extensions, format_ids, format_summary, total_of
from llamacli.render.tokenize_json import (
    Token,
    TokenObjects,
    begin_document,
    counts_document,
    end_document,
    extensions_document,
    sizes,
)

if TYPE_CHECKING:
    from llamacli.engine.tokenizing import Chunk
    from llamacli.engine.vocabulary import Vocabulary


class Output:
    """Takes the chunks of one document after the other, and counts. `counts` has an entry for each that has ended."""

    def __init__(self, app: AppContext) -> None:
        self.app = app
        self.counts: list[Count] = []
        self._tokens = self._bytes = 0

    def write_all(self, chunks: Iterable[Chunk]) -> Count:
        """Writes everything and returns the sum."""
        for chunk in chunks:
            if chunk.part.is_first:
                self._tokens = self._bytes = 0
                self.begin(chunk)
            self._tokens += len(chunk.tokens)
            self._bytes += len(chunk.part.data)
            self.add(chunk)
            if chunk.part.is_last:
                count = Count(chunk.part.document.name, self._tokens, self._bytes)
                self.counts.append(count)
                self.end(count)
        self.finish()
        return total_of(self.counts)

    def begin(self, chunk: Chunk) -> None:
        """Before the first chunk of a document."""

    def add(self, chunk: Chunk) -> None:
        """A chunk."""

    def end(self, count: Count) -> None:
        """After the last chunk of a document."""

    def finish(self) -> None:
        """After the last document."""


class Counts(Output):
    """Numbers alone; `as_json` for programs, `by_extension` summed up by the files' extensions."""

    def __init__(self, app: AppContext, model: str, *, as_json: bool, by_extension: bool) -> None:
        super().__init__(app)
        self._model = model
        self._as_json = as_json
        self._by_extension = by_extension

    def finish(self) -> None:
        """All of it."""
        if self._by_extension:
            groups = by_extension(self.counts)
            document = extensions_document(self._model, groups)
            text = format_extensions(groups)
        else:
            document = counts_document(self._model, self.counts)
            text = format_counts(self.counts)
        if self._as_json:
            self.app.console.write(json.dumps(document) + "\n")
        else:
            self.app.console.show(text)


class Ids(Output):
    """A line of ids for each document; `as_json` makes each a JSON list."""

    def __init__(self, app: AppContext, *, as_json: bool) -> None:
        super().__init__(app)
        self._as_json = as_json
        self._separator = ", " if as_json else " "
        self._started = False

    def begin(self, chunk: Chunk) -> None:
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
        self._several = several
        self._lines = lines
        self._objects = TokenObjects()
        self._started = False

    def begin(self, chunk: Chunk) -> None:
        """The object up to its tokens."""
        self._started = False
        name = chunk.part.document.name
        if self._lines:
            text = begin_document()
        elif self._several:
            opening = json.dumps({"model": self._model})[:-1] + ', "documents": [' if not self.counts else ", "
            text = opening + begin_document(name=name)
        else:
            text = begin_document(model=self._model)
        self.app.console.write(text)

    def add(self, chunk: Chunk) -> None:
        """The tokens."""
        if chunk.tokens:
            text = self._objects.format(self.tokens(chunk))
            self.app.console.write(", " + text if self._started else text)
            self._started = True

    def end(self, count: Count) -> None:
        """The rest of the object."""
        self.app.console.write(end_document(count) + ("" if self._several and not self._lines else "\n"))

    def finish(self) -> None:
        """The rest of the list."""
        if self._several and not self._lines:
            self.app.console.write("], " + json.dumps(sizes(total_of(self.counts)))[1:] + "\n")


class View(_Described):
    """For people: pieces over ids, and a summary."""

    def __init__(self, app: AppContext, vocabulary: Vocabulary, *, several: bool) -> None:
        super().__init__(app, vocabulary)
        self._several = several
        self._view = TokenView(self._paint, width=app.console.width)

    def _paint(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self.app.console.stdout_color else text

    def begin(self, chunk: Chunk) -> None:
        """The document's name, if there are several."""
        if self._several:
            self.app.console.show(f"{chunk.part.document.name}\n")

    def add(self, chunk: Chunk) -> None:
        """The rows that are complete."""
        rows = [self._view.add(token, self._spans.piece(token), is_control=self.is_control(token)) for token in chunk.tokens]
        if text := "".join(rows):
            self.app.console.write(text)

    def end(self, count: Count) -> None:
        """The last row and the summary."""
        self.app.console.write(self._view.finish() + self._paint(format_summary(count), "1") + "\n")

    def finish(self) -> None:
        """The sum, if there are several."""
        if self._several:
            self.app.console.write("\ntotal: " + format_summary(total_of(self.counts)) + "\n")


def by_extension(counts: Iterable[Count]) -> list[tuple[str, int, Count]]:
    """Extension, number of files and sum; the most tokens first."""
    groups: dict[str, list[Count]] = {}
    for count in counts:
        groups.setdefault(PurePath(count.name).suffix.lower() or "(none)", []).append(count)
    summed = [(extension, len(own), total_of(own)) for extension, own in groups.items()]
    return sorted(summed, key=lambda group: (-group[2].tokens, group[0]))
