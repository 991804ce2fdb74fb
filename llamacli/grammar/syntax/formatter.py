"""Formatter: one space between items, long rules broken at their alternatives, comments kept.

The result depends only on the tokens: formatting is idempotent, and the formatted grammar lowers to the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from llamacli.grammar.gbnf import parse
from llamacli.grammar.syntax.nodes import Rule

WIDTH: Final = 100
_INDENT: Final = "  "
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\r\n]*)|(?P<item>"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|!?<[^>]*>|[A-Za-z0-9-]+|\.)"""
    r"""|(?P<repeat>[*+?]|\{[^}]*\})|(?P<mark>[()|])|(?P<space>[ \t\r\n]+)""",
    re.DOTALL,
)
_COMMENT = re.compile(r"#[^\r\n]*")


def format_grammar(text: str, root: str = "root") -> str:
    """Return the grammar in canonical form.

    Raises:
        GrammarSyntaxError: if it is invalid.
    """
    grammar = parse(text, root)
    lines: list[str] = []
    position = 0
    for rule in grammar.rules:
        _between(text[position : rule.start], lines)
        lines.extend(_Layout(text, rule).lines())
        position = rule.end
    _between(text[position:], lines)
    while lines and not lines[-1]:
        lines.pop()
    return "\n".join(lines) + "\n" if lines else ""


def _between(gap: str, lines: list[str]) -> None:
    """Add the comments between two rules, a trailing one to the rule's line, and at most one empty line in a row."""
    first, *rest = re.split(r"\r\n|\r|\n", gap)
    if comment := first.strip():
        if lines:
            lines[-1] += f"  {comment}"
        else:
            lines.append(comment)
    for index, line in enumerate(rest):
        comment = line.strip()
        # The next rule begins after the last line end.
        if comment or (index < len(rest) - 1 and lines and lines[-1]):
            lines.append(comment)


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    closes: int = -1  # for `(`, the index of its `)`


class _Layout:
    """Layout of one rule: on one line if it fits, else broken from the outside in."""

    def __init__(self, text: str, rule: Rule) -> None:
        self._head = f"{rule.name} ::="
        body = text.index("::=", rule.name_end) + 3
        self._tokens = list(_tokens(text[body : rule.end]))
        # Prefix sums of the flat widths and of the comments give those of a group in one step.
        self._widths = [0]
        self._comments = [0]
        for index, token in enumerate(self._tokens):
            self._widths.append(self._widths[-1] + len(token.text) + self._gap(index))
            self._comments.append(self._comments[-1] + (token.kind == "comment"))
        self._lines: list[str] = []
        self._line = self._head
        self._fresh = False  # the line is only indentation

    def lines(self) -> list[str]:
        """Return the rule's lines."""
        tokens = self._tokens
        broken = [not self._fits(0, len(tokens), len(self._head))]
        if broken[0]:
            self._break(1)
        for index, token in enumerate(tokens):
            if token.kind == "mark" and token.text == ")" and broken.pop():
                self._break(len(broken))
            self._put(token.text, self._gap(index))
            if token.kind == "comment":
                self._break(len(broken))
            elif token.text == "(" and token.kind == "mark":
                broken.append(not self._fits(index, token.closes + 1, len(self._line) - 1))
                if broken[-1]:
                    self._comment_first(index)
                    self._break(len(broken))
            elif token.text == "|" and token.kind == "mark" and broken[-1]:
                self._comment_first(index)
                self._break(len(broken))
        self._end_line()
        return self._lines

    def _comment_first(self, index: int) -> None:
        """Keep a comment that follows a `|` or `(` on its line."""
        following = self._tokens[index + 1 : index + 2]
        if following and following[0].kind == "comment":
            self._put(following[0].text, 2)
            following[0].text = ""

    def _fits(self, first: int, end: int, column: int) -> bool:
        if self._comments[end] > self._comments[first]:
            return False
        while end < len(self._tokens) and self._tokens[end].kind == "repeat":
            end += 1
        return column + self._widths[end] - self._widths[first] <= WIDTH

    def _gap(self, index: int) -> int:
        """Return the number of spaces before a token on an unbroken line."""
        token = self._tokens[index]
        if index == 0:
            return 1
        before = self._tokens[index - 1]
        if token.kind == "repeat" or (token.kind == "mark" and token.text == ")"):
            return 0
        if before.kind == "mark" and before.text == "(":
            return 0
        return 2 if token.kind == "comment" else 1

    def _put(self, text: str, gap: int) -> None:
        if text:
            self._line += (" " * gap if not self._fresh else "") + text
            self._fresh = False

    def _break(self, depth: int) -> None:
        if not self._fresh:
            self._end_line()
        self._line = _INDENT * depth
        self._fresh = True

    def _end_line(self) -> None:
        if self._line.strip():
            self._lines.append(self._line.rstrip())


def _tokens(body: str) -> Iterable[_Token]:
    """Return the tokens of a valid rule's body, with matched parentheses."""
    tokens: list[_Token] = []
    opened: list[_Token] = []
    position = 0
    while match := _TOKEN.match(body, position):
        position = match.end()
        kind, text = match.lastgroup or "", match.group()
        if kind == "space":
            continue
        inside = []
        if kind == "repeat":
            inside = [_Token("comment", comment.rstrip()) for comment in _COMMENT.findall(text)]
            text = re.sub(r"[ \t\r\n]", "", _COMMENT.sub("", text))
        token = _Token(kind, text.rstrip() if kind == "comment" else text)
        if kind == "mark" and text == "(":
            opened.append(token)
        elif kind == "mark" and text == ")":
            opened.pop().closes = len(tokens)
        tokens += [token, *inside]
    return tokens
