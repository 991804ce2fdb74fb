"""Output of `tokenize` that describes each token: JSON documents, and pieces over ids for a terminal."""

from __future__ import annotations

import json

from llamacli.binding.enums import llama_token_attr
from llamacli.cli.framework.context import AppContext
from llamacli.cli.tokenize.output import Output, paint
from llamacli.engine.tokenization.documents import Chunk, TokenTable
from llamacli.engine.tokenization.spans import Spans
from llamacli.render.text import escape_line
from llamacli.render.tokenize.json import Token, TokenObjects, begin_document, end_document, json_text, sizes
from llamacli.render.tokenize.view import Count, TokenView, format_summary


class _Described(Output):
    """Output that needs pieces and spans."""

    def __init__(self, app: AppContext, vocabulary: TokenTable) -> None:
        super().__init__(app)
        self._vocabulary = vocabulary
        self._spans = Spans(vocabulary)
        self._controls: dict[int, bool] = {}

    def is_control(self, token: int) -> bool:
        """Return whether a token is a control token."""
        if token not in self._controls:
            self._controls[token] = bool(self._vocabulary.attribute(token) & llama_token_attr.LLAMA_TOKEN_ATTR_CONTROL)
        return self._controls[token]

    def tokens(self, chunk: Chunk) -> list[Token]:
        """Return the tokens of a chunk with their pieces and spans."""
        spans, piece, is_control = self._spans.of(chunk), self._spans.piece, self.is_control
        return [(token, piece(token), span, is_control(token)) for token, span in zip(chunk.tokens, spans, strict=True)]


class Json(_Described):
    """One JSON document. With `several` it has a list of documents, with `lines` each document is on a separate line."""

    def __init__(self, app: AppContext, vocabulary: TokenTable, model: str, *, several: bool, lines: bool) -> None:
        super().__init__(app, vocabulary)
        self._model = model
        self._several = several and not lines
        self.reports_errors = lines
        self._objects = TokenObjects()
        self._started = False

    def begin(self, name: str) -> None:
        """Write the object up to its tokens."""
        self._started = False
        self.app.console.write(self._opening() + begin_document(**self._heading(name)))

    def add(self, chunk: Chunk) -> None:
        """Write the tokens."""
        if chunk.tokens:
            text = self._objects.format(self.tokens(chunk))
            self.app.console.write(", " + text if self._started else text)
            self._started = True

    def end(self, count: Count) -> None:
        """Write the rest of the object."""
        self.app.console.write(end_document(count) + ("" if self._several else "\n"))

    def fail(self, count: Count, *, is_started: bool) -> None:
        """Write an object with the error, or end the started one, which keeps the tokens already written."""
        whole = "" if is_started else self._opening() + json.dumps({**self._heading(count.name), **sizes(count)})
        self.app.console.write((whole or end_document(count)) + ("" if self._several else "\n"))

    def finish(self) -> None:
        """Write the rest of the list."""
        if self._several:
            self.app.console.write("], " + json.dumps(sizes(self.total))[1:] + "\n")

    def _opening(self) -> str:
        if not self._several:
            return ""
        return ", " if self.ended or self.failed else json.dumps({"model": self._model})[:-1] + ', "documents": ['

    def _heading(self, name: str) -> dict[str, str]:
        if self.reports_errors:
            return {}
        return {"name": json_text(name)} if self._several else {"model": self._model}


class View(_Described):
    """Pieces over ids, and a summary, for a terminal."""

    def __init__(self, app: AppContext, vocabulary: TokenTable, *, several: bool) -> None:
        super().__init__(app, vocabulary)
        self._several = several
        self._paint = paint(app)
        self._view = TokenView(self._paint, width=app.console.width)

    def begin(self, name: str) -> None:
        """Write the document's name, if there are several."""
        if self._several:
            self.app.console.write(f"{escape_line(name)}\n")

    def add(self, chunk: Chunk) -> None:
        """Write the complete rows."""
        rows = [self._view.add(token, self._spans.piece(token), is_control=self.is_control(token)) for token in chunk.tokens]
        if text := "".join(rows):
            self.app.console.write(text)

    def end(self, count: Count) -> None:
        """Write the last row and the summary."""
        self.app.console.write(
            self._view.finish() + self._paint(format_summary(count, width=self.app.console.line_width), "1") + "\n"
        )

    def fail(self, count: Count, *, is_started: bool) -> None:
        """Write the started row."""
        self.app.console.write(self._view.finish())

    def finish(self) -> None:
        """Write the total, if there are several documents."""
        if self._several:
            total = format_summary(self.total, name="total: ", width=self.app.console.line_width)
            self.app.console.write(f"\n{total}\n")
