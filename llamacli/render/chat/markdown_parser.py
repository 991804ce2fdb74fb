r"""The Markdown dialect of answers: CommonMark with tables and strikethrough, in which no text disappears.

Models write text that CommonMark drops: tags and placeholders (`List<String>`, `<your name>`), the backslashes of LaTeX and of
regular expressions, link definitions, the addresses of images. Such text is literal here. So are formulas (`\(…\)`, `\[…\]`,
`$…$`, `$$…$$`), products (`2*3*4`) and names (`__init__`), in which CommonMark would find emphasis.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token

_ESCAPABLE = "*_`~"
"""Characters after which the backslash of an escape is markup; any other backslash is text."""

_FORMULA = re.compile(
    r"\\\((?:[^\\]|\\(?!\)))*\\\)|\\\[(?:[^\\]|\\(?!\]))*\\\]|\$\$[^$]+\$\$|\$(?![\s$])(?:[^\\$\n]|\\.)*(?<!\s)\$(?!\d)"
)
_DUNDER = re.compile(r"__[a-z][a-z0-9]*(?:_[a-z0-9]+)*__(?!\w)")
_BLOCK_ENDS = {"\\[": "\\]", "$$": "$$"}


def parse(text: str, *, growing: bool = False) -> list[Token]:
    """Parse Markdown. In a `growing` text a formula without an end takes all the rest."""
    return _PARSER.parse(text, {"growing": growing})


def unfinished_from(text: str) -> int:
    """Return the index at which the last block of a growing text begins: the text before it is final."""
    complete = text[: text.rfind("\n") + 1]
    starts = [token.map[0] for token in top_level(parse(complete, growing=True)) if token.map]
    if len(starts) < 2:
        return 0
    return sum(len(line) + 1 for line in complete.split("\n")[: starts[-1]])


def top_level(tokens: list[Token]) -> list[Token]:
    """Return the tokens that begin a top-level block."""
    return [token for token in tokens if token.level == 0 and token.nesting >= 0]


def _make_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable(["image", "reference"])
    parser.inline.ruler.before("escape", "formula", _formula)
    parser.inline.ruler.at("escape", _escape)
    parser.inline.ruler.at("emphasis", _emphasis)
    parser.block.ruler.before("fence", "formula", _formula_block, {"alt": ["paragraph", "blockquote", "list"]})
    parser.normalizeLink = _unchanged  # type: ignore[method-assign]  # shown, not followed
    return parser


def _unchanged(url: str) -> str:
    return url


def _push_text(state: StateInline, text: str) -> None:
    token = state.push("text", "", 0)
    token.content = text


def _formula(state: StateInline, silent: bool) -> bool:
    """Take a formula as text."""
    if state.src[state.pos] not in "\\$":
        return False
    match = _FORMULA.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        for number, line in enumerate(match[0].split("\n")):
            if number:
                state.push("hardbreak", "br", 0)
            _push_text(state, line.strip() if number else line)
    state.pos = match.end()
    return True


def _escape(state: StateInline, silent: bool) -> bool:
    """Take an escaped character as text, with its backslash unless that is markup."""
    if state.src[state.pos] != "\\" or state.pos + 1 >= state.posMax:
        return False
    char = state.src[state.pos + 1]
    if char.isalnum() or char.isspace():
        return False
    if not silent:
        _push_text(state, char if char in _ESCAPABLE else f"\\{char}")
    state.pos += 2
    return True


def _emphasis(state: StateInline, silent: bool) -> bool:
    """Add delimiters of emphasis, as CommonMark does, but not between the factors of a product."""
    marker = state.src[state.pos]
    if silent or marker not in "_*":
        return False
    if marker == "_" and (match := _DUNDER.match(state.src, state.pos, state.posMax)):
        _push_text(state, match[0])
        state.pos = match.end()
        return True
    scanned = state.scanDelims(state.pos, marker == "*")
    before = state.src[state.pos - 1] if state.pos else " "
    is_operator = marker == "*" and before.isascii() and (before.isalnum() or before in ")]")
    for _ in range(scanned.length):
        _push_text(state, marker)
        state.delimiters.append(
            Delimiter(
                marker=ord(marker),
                length=scanned.length,
                token=len(state.tokens) - 1,
                end=-1,
                open=scanned.can_open and not is_operator,
                close=scanned.can_close,
            )
        )
    state.pos += scanned.length
    return True


def _formula_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    r"""Take the lines from `\[` or `$$` to their end as a formula, also if they look like Markdown."""
    if state.is_code_block(start):
        return False
    line = _line(state, start)
    closing = _BLOCK_ENDS.get(line[:2])
    if closing is None or closing in line[2:]:
        return False
    last = next((number for number in range(start + 1, end) if _line(state, number).endswith(closing)), None)
    if last is None:
        if not state.env.get("growing"):
            return False
        last = end - 1
    if not silent:
        token = state.push("formula", "", 0)
        token.map = [start, last + 1]
        token.content = "\n".join(_line(state, number) for number in range(start, last + 1))
        token.block = True
        state.line = last + 1
    return True


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].rstrip()


_PARSER = _make_parser()
