"""Parser for GBNF as the pinned llama.cpp accepts it, with locations for everything and without recursion.

llama.cpp's parser (`src/llama-grammar.cpp`) prints to stderr, reports no locations, overflows the stack on deep nesting and
exhausts memory on some repetitions. This one accepts what that one accepts and survives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn, TypeVar

from llamacli.grammar.program.code import ANY, MAX_REPETITION, Program, Terminal
from llamacli.grammar.program.lowering import LimitError, Lowering
from llamacli.grammar.syntax import mistakes
from llamacli.grammar.syntax.lexemes import ESCAPE_HINT, EscapeError, class_ranges, literal_codes
from llamacli.grammar.syntax.nodes import AnyChar, CharClass, Group, Literal, Node, Repeat, Rule, RuleReference, TokenReference
from llamacli.grammar.syntax.problems import Problem, unreadable
from llamacli.grammar.syntax.tree import TreeBuilder

MAX_DEPTH: Final = 1000
"""Limit of nested groups: llama.cpp recurses, and overflows the stack at some ten thousand."""

_SPACE = re.compile(r"(?:[ \t\r\n]++|#[^\r\n]*+)*+")
_SPACE_IN_LINE = re.compile(r"(?:[ \t]++|#[^\r\n]*+)*+")
_NAME = re.compile(r"[A-Za-z0-9-]+")
_RULE_HEAD = re.compile(r"^[ \t]*([A-Za-z0-9-]+)[ \t]*::=", re.MULTILINE)
_LITERAL = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_CLASS = re.compile(r"\[(\^?)((?:[^\]\\]++|\\.)*+)\]", re.DOTALL)
_TOKEN = re.compile(r"!?<(?:\[([0-9]+)\]|(?!\[)[^>]*+)>")
_BOUNDS = [
    re.compile(rf"\{{{space}([0-9]+){space}(,{space}(?:([0-9]+){space})?)?\}}")
    for space in (_SPACE_IN_LINE.pattern, _SPACE.pattern)
]
_NODES = (Literal, CharClass, AnyChar, TokenReference, RuleReference, Group, Repeat)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parsed:
    """The result of parsing. If there are problems, the rules and the program are partial."""

    rules: tuple[Rule, ...]
    program: Program
    problems: tuple[Problem, ...]


class _Stopped(Exception):
    """The current rule cannot be parsed any further."""


class Parser:
    """Parser of one text. Stops at the first problem, or with `every_problem` continues at the next rule.

    `every_problem` is for a text with errors: it takes a literal that extends over the start of a rule for an unterminated
    one. With `tokens_as_text`, a token `<text>` is lowered as that text, and `!<text>` as any character.
    """

    def __init__(self, text: str, *, root: str = "root", every_problem: bool = False, tokens_as_text: bool = False) -> None:
        self._text = text
        self._tokens_as_text = tokens_as_text
        self._root = root
        self._every_problem = every_problem
        self._problems: list[Problem] = []
        self._rules: list[Rule] = []
        self._lowering = Lowering()
        self._tree = TreeBuilder()
        self._items: dict[str, Callable[[int], int]] = {
            '"': self._literal,
            "[": self._class,
            "<": self._token,
            "!": self._token,
            ".": self._any,
            "(": self._open_group,
            ")": self._close_group,
            "|": self._alternative,
            "*": self._repeat,
            "+": self._repeat,
            "?": self._repeat,
            "{": self._bounds,
        }

    def parse(self) -> Parsed:
        """Parse the text. Errors in it become problems, not exceptions."""
        try:
            self._problems += unreadable(self._text)
            if self._problems:
                raise _Stopped
            position = self._space(0, nested=True)
            while position < len(self._text):
                position = self._rule(position)
        except _Stopped:
            pass
        return Parsed(tuple(self._rules), self._lowering.finish(self._root), tuple(self._problems))

    def _rule(self, start: int) -> int:
        """Parse one rule and return where the next one starts."""
        try:
            name, position = self._head(start)
            self._limited(self._lowering.begin_rule, name.group())
            position = self._space(position + 3, nested=True)
            self._tree.begin_rule(start, position)
        except _Stopped:
            return self._resume(start)
        try:
            position = self._body(position)
        except _Stopped:
            self._finish_rule(name, broken=True)
            return self._resume(position)
        self._finish_rule(name)
        return self._space(position, nested=True)

    def _head(self, start: int) -> tuple[re.Match[str], int]:
        """Parse `name ::=`; return the name and the position of `::=`."""
        name = _NAME.match(self._text, start)
        if name is None:
            self._stray(start)
        position = self._space(name.end(), nested=False)
        if not self._text.startswith("::=", position):
            self._fail("expected-definition", *mistakes.at_definition(self._text, name.group(), position))
        return name, position

    def _body(self, position: int) -> int:
        """Parse items up to the end of the rule and return that."""
        text, items, size = self._text, self._items, len(self._text)
        while position < size:
            item = items.get(text[position])
            if item is not None:
                position = item(position)
            elif name := _NAME.match(text, position):
                position = self._reference(name)
            else:
                break
        if self._lowering.nested:
            self._fail("unclosed-group", *mistakes.in_group(text, self._tree.group_start, position))
        if position < size and text[position] not in "\r\n":
            self._stray(position)
        return position

    def _finish_rule(self, name: re.Match[str], *, broken: bool = False) -> None:
        """Add the rule. A broken one ends in an unknown item: its groups are closed, and its rest causes no problems."""
        if broken:
            while self._lowering.nested:
                self._shut_group(self._tree.end)
            with suppress(LimitError):
                self._lowering.terminal(ANY, AnyChar(self._tree.end, self._tree.end))
        self._lowering.end_rule()
        self._rules.append(self._tree.finish_rule(name.group(), name.start(), name.end()))

    def _literal(self, start: int) -> int:
        match = _LITERAL.match(self._text, start)
        if match is None or self._runs_on(match):
            self._fail("unterminated-literal", "this literal has no closing quote", start)
        codes = self._unescaped(literal_codes, match, 1) or ()
        node = Literal(codes, start, match.end())
        self._limited(self._lowering.literal, codes, node)
        return self._add(node)

    def _class(self, start: int) -> int:
        match = _CLASS.match(self._text, start)
        if match is None or self._runs_on(match):
            self._fail("unterminated-class", "this character class has no closing bracket", start)
        ranges = self._unescaped(class_ranges, match, 2)
        node = CharClass(ranges or (), match.group(1) == "^", start, match.end())
        if node.ranges:
            self._limited(self._lowering.terminal, Terminal(node.ranges, node.negated), node)
        else:
            self._lowering.nothing()
        return self._add(node)

    def _token(self, start: int) -> int:
        match = _TOKEN.match(self._text, start)
        if match is None:
            self._fail("bad-token", *mistakes.at_token(self._text, start))
        number = match.group(1)
        if number is not None and (len(number.lstrip("0")) > 10 or int(number) > 0xFFFFFFFF):
            self._fail("bad-token", "this token id does not fit in 32 bits", match.start(1), match.end(1))
        negated = self._text[start] == "!"
        node = TokenReference(match.group()[negated:], None if number is None else int(number), negated, start, match.end())
        if not self._tokens_as_text or node.id is not None:
            self._limited(self._lowering.terminal, Terminal(negated=negated, token=node.text, token_id=node.id), node)
        elif negated:
            self._limited(self._lowering.terminal, ANY, node)
        else:
            self._limited(self._lowering.literal, tuple(map(ord, node.text)), node)
        return self._add(node)

    def _runs_on(self, match: re.Match[str]) -> bool:
        return self._every_problem and _RULE_HEAD.search(match.group(), 1) is not None

    def _any(self, start: int) -> int:
        node = AnyChar(start, start + 1)
        self._limited(self._lowering.terminal, ANY, node)
        return self._add(node)

    def _reference(self, name: re.Match[str]) -> int:
        node = RuleReference(name.group(), name.start(), name.end())
        self._limited(self._lowering.reference, node.name, node)
        return self._add(node)

    def _open_group(self, start: int) -> int:
        if self._lowering.nested >= MAX_DEPTH:
            self._fail("too-deep", f"groups are nested more than {MAX_DEPTH:,} deep", start, unsafe=True)
        position = self._space(start + 1, nested=True)
        self._limited(self._lowering.open_group)
        self._tree.open_group(start, position)
        return position

    def _close_group(self, start: int) -> int:
        if not self._lowering.nested:
            self._stray(start)
        return self._shut_group(start + 1)

    def _shut_group(self, end: int) -> int:
        node = self._tree.close_group(end)
        self._limited(self._lowering.close_group, node)
        return self._add(node)

    def _alternative(self, start: int) -> int:
        position = self._space(start + 1, nested=True)
        self._limited(self._lowering.alternative)
        self._tree.alternative(position)
        return position

    def _repeat(self, start: int) -> int:
        minimum, maximum = {"*": (0, None), "+": (1, None), "?": (0, 1)}[self._text[start]]
        return self._repeated(start, start + 1, minimum, maximum)

    def _bounds(self, start: int) -> int:
        match = _BOUNDS[self._lowering.nested > 0].match(self._text, start)
        if match is None:
            self._fail("bad-repetition", *mistakes.at_bounds(self._text, start))
        low, comma, high = match.groups()
        numbers = [text.lstrip("0") or "0" for text in (low, high or low)]
        if any(len(number) > 20 or int(number) >= 1 << 64 for number in numbers):
            self._fail("bad-repetition", "this bound does not fit in 64 bits", start, match.end())
        minimum = int(numbers[0])
        maximum = None if comma and high is None else int(numbers[1])
        if minimum > MAX_REPETITION:
            self._fail("too-many-repetitions", f"llama.cpp repeats at most {MAX_REPETITION:,} times", start, match.end())
        return self._repeated(start, match.end(), minimum, maximum)

    def _repeated(self, start: int, end: int, minimum: int, maximum: int | None) -> int:
        if not self._lowering.repeatable:
            self._fail("nothing-to-repeat", f"nothing to repeat before {self._text[start]}", start)
        item = self._tree.pop()
        applied = None if maximum is not None and maximum > MAX_REPETITION else maximum
        node = Repeat(item, minimum, applied, maximum, start, item.start, end)
        self._limited(self._lowering.repeat, minimum, applied, node)
        return self._add(node)

    def _add(self, node: Node) -> int:
        """Add an item to the tree and return where the next item may start."""
        self._tree.add(node)
        return self._space(node.end, nested=self._lowering.nested > 0)

    def _space(self, position: int, *, nested: bool) -> int:
        match = (_SPACE if nested else _SPACE_IN_LINE).match(self._text, position)
        return match.end() if match else position

    def _unescaped(self, decode: Callable[[str], T], match: re.Match[str], group: int) -> T | None:
        """Decode the group's text. A bad escape is a problem, which ends the rule only if the first problem does."""
        try:
            return decode(match.group(group))
        except EscapeError as error:
            at = match.start(group) + error.index
            problem = Problem("bad-escape", error.message, at, at + error.length, hint=ESCAPE_HINT)
        self._problems.append(problem)
        if not self._every_problem:
            raise _Stopped
        return None

    def _limited(self, lower: Callable[..., None], *arguments: object) -> None:
        """Lower an item; an exceeded limit is a problem at that item."""
        try:
            lower(*arguments)
        except LimitError as error:
            node = arguments[-1] if arguments else None
            end = self._tree.end
            start, end = (node.start, node.end) if isinstance(node, _NODES) else (end, end)
            start = node.operator if isinstance(node, Repeat) else start
            self._fail(error.kind, error.message, start, end, unsafe=error.unsafe)

    def _stray(self, position: int) -> NoReturn:
        self._fail("unexpected-character", *mistakes.at_rule(self._text, position))

    def _fail(
        self, kind: str, message: str, start: int, end: int | None = None, hint: str | None = None, *, unsafe: bool = False
    ) -> NoReturn:
        self._problems.append(Problem(kind, message, start, end or start + 1, hint=hint, unsafe=unsafe))
        raise _Stopped

    def _resume(self, position: int) -> int:
        """Return where to continue after a problem: the next line that starts a rule, or the end of the text."""
        head = _RULE_HEAD.search(self._text, position + 1) if self._every_problem else None
        return head.start(1) if head else len(self._text)
