"""Markdown for a terminal: rendered rows, of which none loses text."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar

from markdown_it.token import Token
from rich import box
from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, ListElement, ListItem, Markdown, MarkdownElement, TableElement, TextElement
from rich.segment import Segment
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from llamacli.render.chat.live import Row
from llamacli.render.chat.markdown_parser import parse, top_level
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
_NARROWEST = 8
_LANGUAGE = re.compile(r"[\w+#.-]{0,20}")
_ENTITY = re.compile(r"&(?:#[xX]?[0-9a-fA-F]{1,7}|[A-Za-z][A-Za-z0-9]{1,31});")


class _Heading(Heading):
    """A left-aligned heading without a box."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Code(CodeBlock):
    """Code on the background of the terminal, after what its fence says beside the language."""

    caption = ""

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Code:
        """Return the element of a token."""
        element = cls(token.info.partition(" ")[0] or "text", markdown.code_theme)
        element.caption = "" if _hides_info(token) else token.info.strip()
        return element

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.caption:
            yield Text(self.caption, style="dim")
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme="ansi_dark", background_color="default", word_wrap=True)


class _Formula(TextElement):
    """A formula, as it was written."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _Item(ListItem):
    """An item of a list, with its own number."""

    number = ""

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Item:
        """Return the element of a token."""
        element = cls()
        element.number = token.info
        return element

    def render_numbered(self, console: Console, options: ConsoleOptions, width: int) -> RenderResult:
        """Render the item after its number, which takes `width` columns."""
        lines = console.render_lines(self.elements, options.update(width=max(options.max_width - width, 1)), style=self.style)
        style = console.get_style("markdown.item.number", default="none")
        for number, line in enumerate(lines):
            yield Segment(f"{'' if number else self.number:>{width - 1}} ", style)
            yield from line
            yield Segment("\n")


class _List(ListElement):
    """A list. The numbers of its items are those of the text."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.list_type == "bullet_list_open":
            yield from super().__rich_console__(console, options)
            return
        items = [item for item in self.items if isinstance(item, _Item)]
        width = max((len(item.number) for item in items), default=1) + 2
        for item in items:
            yield from item.render_numbered(console, options, width)


class _Table(TableElement):
    """A table that wraps long words instead of cutting them."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=box.SIMPLE, pad_edge=False, style="markdown.table.border", collapse_padding=True)
        if self.header is not None and self.header.row is not None:
            for column in self.header.row.cells:
                heading = column.content.copy()
                heading.stylize("markdown.table.header")
                table.add_column(heading, overflow="fold")
        for row in self.body.rows if self.body is not None else ():
            table.add_row(*(cell.content for cell in row.cells))
        yield table


class _Document(Markdown):
    """Markdown in which every line end is a line break, as models intend."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
        "formula": _Formula,
        "list_item_open": _Item,
        "bullet_list_open": _List,
        "ordered_list_open": _List,
        "table_open": _Table,
    }

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = tokens
        for token in tokens:
            if token.children:
                token.children = list(_shown(token.children))


def markdown_rows(text: str, width: int, *, color: bool) -> list[Row]:
    """Return the rows of Markdown text. Control characters are marks, also those of entities (`&#27;`).

    A block of which something would not be shown, such as a table with too many columns, stays as it is written.
    """
    text = escape(text)
    tokens = parse(text)
    rows = _rows(_Document(tokens), width, color=color)
    if _is_complete(rows, text, tokens, color=color):
        return rows
    return _rows_by_block(text, top_level(tokens), width, color=color)


def dim_rows(text: str, width: int, *, color: bool) -> list[Row]:
    """Return the rows of plain text, dim."""
    return _rows(Text(escape(text), style="dim"), width, color=color)


def _rows_by_block(text: str, blocks: list[Token], width: int, *, color: bool) -> list[Row]:
    """Return the rows of Markdown text, in which incomplete blocks are shown as plain text."""
    lines = text.split("\n")
    starts = sorted({token.map[0] for token in blocks if token.map})
    rows: list[Row] = []
    for start, end in zip([0, *starts[1:]], [*starts[1:], len(lines)], strict=True):
        source = "\n".join(lines[start:end]).strip("\n")
        tokens = parse(source)
        block = _rows(_Document(tokens), width, color=color)
        if not _is_complete(block, source, tokens, color=color):
            block = _rows(Text(source), width, color=color)
        rows += [("", 0), *block] if rows else block
    return rows


def _is_complete(rows: list[Row], text: str, tokens: list[Token], *, color: bool) -> bool:
    """Return whether the rows have all letters, digits and symbols of the text, except languages and entities."""
    required = Counter(filter(_is_visible, _ENTITY.sub("", text)))
    for token in tokens:
        if token.type == "fence" and _hides_info(token):
            required.subtract(filter(_is_visible, token.info))
    shown = "".join(row for row, _ in rows)
    found = Counter(filter(_is_visible, re.sub(r"\x1b\[[0-9;]*m", "", shown) if color else shown))
    return all(found[char] >= count for char, count in required.items())


def _hides_info(token: Token) -> bool:
    """Return whether the info string of a fence is only the language of some code, which colours show."""
    return bool(_LANGUAGE.fullmatch(token.info.strip())) and bool(token.content.strip())


def _is_visible(char: str) -> bool:
    return char.isalnum() if char.isascii() else not char.isspace() and cell_len(char) > 0


def _shown(tokens: Iterable[Token]) -> Iterable[Token]:
    """Yield inline tokens as they are shown: every line end breaks the line, a link has its title, a bare address no link."""
    for token in tokens:
        if token.type == "softbreak":
            token.type = "hardbreak"
        elif token.info == "auto" and token.type in ("link_open", "link_close"):
            continue
        elif token.type == "link_open" and "title" in token.attrs:
            token.attrs["href"] = f'{token.attrs["href"]} "{token.attrs["title"]}"'
        yield token


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
