"""A guide as text for a terminal of any width, or for a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from llamacli.render.guide.blocks import Block, Bullets, Code, Heading, Inline, Paragraph, Span, Table
from llamacli.render.wrap import wrap

MAX_WIDTH, MIN_WIDTH = 100, 24
_NARROW = 60
_TERM_WIDTH = 32
"""The widest first column of a table that has its second column beside it."""

Bold = Callable[[str], str]


def format_guide(title: str, blocks: Iterable[Block], *, width: int, bold: Bold) -> str:
    """Lay out a guide in lines of at most `width` columns; code is never broken. `bold` makes text stand out.

    If `bold` changes nothing, inline code keeps its backticks.
    """
    layout = _Layout(max(min(width, MAX_WIDTH), MIN_WIDTH), bold)
    parts = [bold(title), *(layout.block(block, layout.indent) for block in blocks)]
    return "\n\n".join(parts) + "\n"


class _Layout:
    """Blocks to lines at one width."""

    def __init__(self, width: int, bold: Bold) -> None:
        self.width = width
        self.bold = bold
        self.quote = "" if bold("x") != "x" else "`"
        self.indent = 2 if width < _NARROW else 4

    def block(self, block: Block, indent: int) -> str:
        match block:
            case Heading(level, text):
                return " " * (0 if level <= 2 else 2) + self.bold(plain(text))
            case Paragraph(text):
                return self.filled(text, indent)
            case Code(_, text):
                return self._code(text.split("\n"), indent + (2 if self.width < _NARROW else 4))
            case Bullets(items):
                return "\n".join(self._item(item, indent) for item in items)
            case Table(header, rows):
                return self._table(header, rows, indent)

    def filled(self, text: Inline, indent: int, first: str = "") -> str:
        """Text in lines; `first` stands in the margin of the first one."""
        margin = " " * (indent + len(first))
        lines = self._lines(text, self.width - len(margin))
        return "\n".join((" " * indent + first if place == 0 else margin) + line for place, line in enumerate(lines))

    def _code(self, lines: list[str], indent: int) -> str:
        """Lines as they are, indented less if they would not fit otherwise."""
        margin = " " * max(2, min(indent, self.width - max(map(len, lines))))
        return "\n".join(f"{margin}{line}".rstrip() for line in lines)

    def _item(self, item: tuple[Block, ...], indent: int) -> str:
        lead, *others = item
        text = lead.text if isinstance(lead, Paragraph) else ()
        return "\n\n".join([self.filled(text, indent, "- "), *(self.block(block, indent + 2) for block in others)])

    def _table(self, header: tuple[Inline, ...], rows: tuple[tuple[Inline, ...], ...], indent: int) -> str:
        terms = [plain(row[0], self.quote) for row in rows]
        titled = any(plain(cell) for cell in header)
        column = max(map(len, terms), default=0) + 2
        if len(header) == 2 and column <= _TERM_WIDTH and self.width - indent - column >= _TERM_WIDTH:
            return "\n".join(self._beside(row, indent, column) for row in rows)
        return "\n".join(self._below(row, header if titled and len(header) > 2 else (), indent) for row in rows)

    def _beside(self, row: tuple[Inline, ...], indent: int, column: int) -> str:
        """A row of two columns."""
        lines = self.filled(row[1], indent + column).split("\n")
        gap = " " * (column - len(plain(row[0], self.quote)))
        return "\n".join([(" " * indent + self._styled(row[0]) + gap + lines[0].lstrip()).rstrip(), *lines[1:]])

    def _below(self, row: tuple[Inline, ...], header: tuple[Inline, ...], indent: int) -> str:
        """A row as its first cell, with the others below it."""
        cells = []
        for place, cell in enumerate(row[1:], 1):
            if cell:
                label = (Span(f"{plain(header[place])}: "),) if header and plain(header[place]) else ()
                cells.append(self.filled((*label, *cell), indent + 4))
        return "\n".join([self.filled(row[0], indent), *cells])

    def _styled(self, text: Inline) -> str:
        return "".join(self._styled_piece(span) for span in text)

    def _styled_piece(self, span: Span) -> str:
        if span.style == "code" and self.quote:
            return f"{self.quote}{span.text}{self.quote}"
        return self._shown(span)

    def _lines(self, text: Inline, width: int) -> list[str]:
        """Lines of words. A word is the text between spaces, of any style."""
        words = ("".join(map(self._shown, word)) for word in _words(text, self.quote))
        return wrap(" ".join(words), width)

    def _shown(self, span: Span) -> str:
        return span.text if span.style == "plain" else self.bold(span.text)


def plain(text: Inline, quote: str = "") -> str:
    """The text without styles; `quote` is put around code."""
    return "".join(f"{quote}{span.text}{quote}" if span.style == "code" else span.text for span in text)


def _words(text: Inline, quote: str) -> Iterator[list[Span]]:
    """Words, each in pieces of one style."""
    word: list[Span] = []
    for span in text:
        whole = f"{quote}{span.text}{quote}" if span.style == "code" else span.text
        for place, piece in enumerate(whole.split(" ")):
            if place and word:
                yield word
                word = []
            if piece:
                word.append(Span(piece, span.style))
    if word:
        yield word
