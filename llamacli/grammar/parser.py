"""The GBNF parser: the language of the pinned llama.cpp, with a place for everything and no recursion.

llama.cpp's parser (`src/llama-grammar.cpp`) prints to the process's stderr, knows no places, overflows the stack on deep
nesting and takes all memory on some repetitions. This one accepts what that one accepts and survives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn, TypeVar

from llamacli.grammar import mistakes
from llamacli.grammar.lexemes import ESCAPE_HINT, EscapeError, class_ranges, literal_codes
from llamacli.grammar.nodes import (
    AnyChar,
    CharClass,
    Choice,
    Group,
    Literal,
    Node,
    Repeat,
    Rule,
    RuleReference,
    Sequence,
    TokenReference,
)
from llamacli.grammar.problems import Problem, unreadable
from llamacli.grammar.program import ANY, MAX_REPETITION, LimitError, Lowering, Program, Terminal

MAX_DEPTH: Final = 1000
"""Our bound on nested groups: llama.cpp recurses, and overflows the stack at some ten thousand."""

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
_PLACED = (Literal, CharClass, AnyChar, TokenReference, RuleReference, Group, Repeat)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the parser made of a text. With problems, the rules and the program are what could be made out."""

    rules: tuple[Rule, ...]
    program: Program
    problems: tuple[Problem, ...]


@dataclass(slots=True)
class _Open:
    """A group, or a rule's body, under construction."""

    start: int
    body: int
    option: int
    options: list[Sequence]
    items: list[Node]

    def close_option(self, end: int) -> None:
        self.options.append(Sequence(tuple(self.items), self.option, end))
        self.items = []


class _Stopped(Exception):
    """The rule cannot be read on."""


class Parser:
    """Reads one text. With `every_problem`, goes on after a problem at the next rule; without, stops at the first.

    That is meant for a text which is known to be wrong: then a literal that goes on over the start of a rule is taken for
    one that is not closed. With `tokens_as_text`, a token written as `<text>` is lowered as that text, and `!<text>` as any
    character.
    """

    def __init__(self, text: str, *, root: str = "root", every_problem: bool = False, tokens_as_text: bool = False) -> None:
        self._text = text
        self._tokens_as_text = tokens_as_text
        self._root = root
        self._every_problem = every_problem
        self._problems: list[Problem] = []
        self._rules: list[Rule] = []
        self._lowering = Lowering()
        self._open: list[_Open] = []
        self._end = 0
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
        """Reads the text. Never raises for what is in it."""
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
        """Reads one rule and returns where the next one starts."""
        try:
            name, position = self._head(start)
            self._limited(self._lowering.begin_rule, name.group())
            position = self._space(position + 3, nested=True)
            self._open = [_Open(start, position, position, [], [])]
            self._end = position
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
        """Reads `name ::=`; returns the name and the place of `::=`."""
        name = _NAME.match(self._text, start)
        if name is None:
            self._stray(start)
        position = self._space(name.end(), nested=False)
        if not self._text.startswith("::=", position):
            self._fail("expected-definition", *mistakes.at_definition(self._text, name.group(), position))
        return name, position

    def _body(self, position: int) -> int:
        """Reads items up to the end of the rule and returns that."""
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
            self._fail("unclosed-group", *mistakes.in_group(text, self._open[-1].start, position))
        if position < size and text[position] not in "\r\n":
            self._stray(position)
        return position

    def _finish_rule(self, name: re.Match[str], *, broken: bool = False) -> None:
        """Adds the rule. A broken one ends in something unknown: its groups are closed, and nothing is said of its rest."""
        if broken:
            while self._lowering.nested:
                self._shut_group(self._end)
            with suppress(LimitError):
                self._lowering.terminal(ANY, AnyChar(self._end, self._end))
        (body,) = self._open
        body.close_option(self._end)
        self._lowering.end_rule()
        choice = Choice(tuple(body.options), body.body, self._end)
        self._rules.append(Rule(name.group(), choice, name.end(), name.start(), self._end))

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
        self._open.append(_Open(start, position, position, [], []))
        self._end = position
        return position

    def _close_group(self, start: int) -> int:
        if not self._lowering.nested:
            self._stray(start)
        return self._shut_group(start + 1)

    def _shut_group(self, end: int) -> int:
        group = self._open.pop()
        group.close_option(self._end)
        node = Group(Choice(tuple(group.options), group.body, self._end), group.start, end)
        self._limited(self._lowering.close_group, node)
        return self._add(node)

    def _alternative(self, start: int) -> int:
        choice = self._open[-1]
        choice.close_option(self._end)
        self._limited(self._lowering.alternative)
        choice.option = self._end = self._space(start + 1, nested=True)
        return self._end

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
            self._fail("nothing-to-repeat", f"there is nothing before this {self._text[start]} to repeat", start)
        item = self._open[-1].items.pop()
        applied = None if maximum is not None and maximum > MAX_REPETITION else maximum
        node = Repeat(item, minimum, applied, maximum, start, item.start, end)
        self._limited(self._lowering.repeat, minimum, applied, node)
        return self._add(node)

    def _add(self, node: Node) -> int:
        """Puts the node where it belongs and returns where the next item may start."""
        self._open[-1].items.append(node)
        self._end = node.end
        return self._space(node.end, nested=self._lowering.nested > 0)

    def _space(self, position: int, *, nested: bool) -> int:
        match = (_SPACE if nested else _SPACE_IN_LINE).match(self._text, position)
        return match.end() if match else position

    def _unescaped(self, decode: Callable[[str], T], match: re.Match[str], group: int) -> T | None:
        """What `decode` makes of the group's text. A bad escape is noted, and ends the rule only if problems do."""
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
        """Lowers an item; a limit that it passes is a problem at that item."""
        try:
            lower(*arguments)
        except LimitError as error:
            node = arguments[-1] if arguments else None
            start, end = (node.start, node.end) if isinstance(node, _PLACED) else (self._end, self._end)
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
        """Where to go on after a problem: at the next line that begins a rule, or nowhere."""
        head = _RULE_HEAD.search(self._text, position + 1) if self._every_problem else None
        return head.start(1) if head else len(self._text)
