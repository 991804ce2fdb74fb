"""The blocks of a guide, read from Markdown: headings, paragraphs, lists, code and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

_PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, slots=True)
class Span:
    """Text in one style."""

    text: str
    style: Literal["plain", "bold", "code"] = "plain"


Inline = tuple[Span, ...]
"""The text of a paragraph or a cell."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 2 or 3; the title of a guide is not in its text."""

    level: int
    text: Inline


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Text to be filled."""

    text: Inline


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list; each item is a sequence of blocks."""

    items: tuple[tuple[Block, ...], ...]


@dataclass(frozen=True, slots=True)
class Code:
    """A fenced block, kept as it is. `language` is its info string."""

    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Empty header cells say that the columns need no titles."""

    header: tuple[Inline, ...]
    rows: tuple[tuple[Inline, ...], ...]


Block = Heading | Paragraph | Bullets | Code | Table


def parse_guide(text: str) -> tuple[Block, ...]:
    """Parse the Markdown of a guide.

    Raises:
        ValueError: if the text uses Markdown that a guide does not support.
    """
    return tuple(_block(node) for node in SyntaxTreeNode(_PARSER.parse(text)).children)


def _block(node: SyntaxTreeNode) -> Block:
    match node.type:
        case "heading":
            return Heading(int(node.tag.removeprefix("h")), _inline(node))
        case "paragraph":
            return Paragraph(_inline(node))
        case "bullet_list":
            return Bullets(tuple(tuple(_block(block) for block in item.children) for item in node.children))
        case "fence":
            return Code(node.info, node.content.rstrip("\n"))
        case "table":
            rows = [tuple(_inline(cell) for cell in row.children) for part in node.children for row in part.children]
            return Table(rows[0], tuple(rows[1:]))
        case _:
            raise ValueError(f"a guide does not support {node.type}")


def _inline(node: SyntaxTreeNode) -> Inline:
    """The spans of a node's text. A line end within it is a space."""
    tokens: list[Token] = [token for child in node.children for token in (child.token and child.token.children) or ()]
    spans, bold = [], False
    for token in tokens:
        match token.type:
            case "text":
                spans.append(Span(token.content, "bold" if bold else "plain"))
            case "code_inline":
                spans.append(Span(token.content, "code"))
            case "softbreak":
                spans.append(Span(" "))
            case "strong_open" | "strong_close":
                bold = token.type == "strong_open"
            case _:
                raise ValueError(f"a guide does not support {token.type}")
    return tuple(span for span in spans if span.text)
