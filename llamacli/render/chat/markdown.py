"""Markdown for a terminal: rendered rows, and the boundary between finished blocks and the one that still grows."""

from __future__ import annotations

import io
from typing import Any, ClassVar

from markdown_it import MarkdownIt
from rich.color import ColorSystem
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.padding import Padding
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from llamacli.render.chat.live import Row
from llamacli.render.text import escape, escape_line

_THEME = Theme(
    {
        "markdown.code": "cyan",
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.item.number": "cyan",
        "markdown.block_quote": "dim",
    }
)
_PARSER = MarkdownIt().enable("strikethrough").enable("table")
_NARROWEST = 8


class _Heading(Heading):
    """A left-aligned heading without a box."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Code(CodeBlock):
    """Code on the background of the terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        syntax = Syntax(code, self.lexer_name, theme="ansi_dark", background_color="default", word_wrap=True)
        yield Padding(syntax, (0, 0, 0, 2))


class _Document(Markdown):
    """Markdown in which every line end is a line break, as models intend."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
    }

    def __init__(self, text: str) -> None:
        super().__init__(text, hyperlinks=False)
        for token in self.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"


def unfinished_from(text: str) -> int:
    """Return the index at which the last block of a growing text begins: the text before it is final."""
    complete = text[: text.rfind("\n") + 1]
    starts = [token.map[0] for token in _PARSER.parse(complete) if token.level == 0 and token.nesting >= 0 and token.map]
    if len(starts) < 2:
        return 0
    lines = complete.splitlines(keepends=True)
    return sum(map(len, lines[: starts[-1]]))


def markdown_rows(text: str, width: int, *, color: bool) -> list[Row]:
    """Return the rows of Markdown text. Control characters are marks, also those of entities (`&#27;`)."""
    return _rows(_Document(escape(text)), width, color=color)


def dim_rows(text: str, width: int, *, color: bool) -> list[Row]:
    """Return the rows of plain text, dim."""
    return _rows(Text(escape(text), style="dim"), width, color=color)


def _rows(content: Any, width: int, *, color: bool) -> list[Row]:
    console = Console(
        file=io.StringIO(), width=max(width, _NARROWEST), force_terminal=True, color_system="standard", theme=_THEME,
        legacy_windows=False, highlight=False,
    )  # fmt: skip
    lines = console.render_lines(content, console.options, pad=False)
    rows = [_row(line, color) for line in lines]
    while rows and not rows[-1][1]:
        rows.pop()
    while rows and not rows[0][1]:
        del rows[0]
    return rows


def _row(segments: list[Segment], color: bool) -> Row:
    pieces, columns = [], 0
    clean = [Segment(escape_line(text), style) for text, style, control in segments if not control]
    while clean and not (last := clean[-1].text.rstrip()):
        clean.pop()
    if clean:
        clean[-1] = Segment(last, clean[-1].style)
    for segment in clean:
        columns += segment.cell_length
        style = segment.style if color else None
        pieces.append(style.render(segment.text, color_system=ColorSystem.STANDARD) if style else segment.text)
    return "".join(pieces), columns
