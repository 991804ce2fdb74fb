"""Matcher: checks texts against a grammar, and reports where they fail and what the grammar expects there."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from llamacli.errors import GrammarError
from llamacli.grammar.automaton.stack_sets import StackSets
from llamacli.grammar.automaton.stack_store import GrowthError, Stacks
from llamacli.grammar.gbnf import Grammar
from llamacli.grammar.location import LineIndex, Location
from llamacli.grammar.program.alphabet import allowed, common
from llamacli.grammar.syntax import words
from llamacli.grammar.syntax.nodes import AnyNode, CharClass, Literal, Ranges


@dataclass(frozen=True, slots=True)
class Expected:
    """Something that may come next: a description, and the rule that contains it.

    `ranges` and `negated` describe the next character; a token reference has no ranges.
    """

    words: str
    rule: str
    ranges: Ranges = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """The result for a text.

    `matches`: the text is in the language. Else `stop` is the index of the first character that no continuation allows, or
    the text's length if the text is incomplete. `longest` is the length of the longest prefix in the language, or None.
    `expected` may follow the first `stop` characters; `may_end` is true if the text may end there.
    """

    matches: bool
    stop: int
    location: Location
    longest: int | None = None
    expected: tuple[Expected, ...] = ()
    may_end: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """The state after a prefix, as a set of stacks. Equal states may be different objects."""

    stacks: Stacks = field(repr=False)


class Matcher:
    """Matcher of a grammar, with a cache that all texts share. Not thread-safe.

    A token reference matches no character, as in llama.cpp.
    """

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._sets = StackSets(grammar.program)
        self._starts = [rule.start for rule in grammar.rules]
        self.start = State(self._sets.start)

    def match(self, text: str) -> Match:
        """Match a whole text.

        Raises:
            GrammarError: if the grammar is too ambiguous.
        """
        state, stop = self._follow(self.start, text)
        may_end = self._sets.accepts(state)
        if stop == len(text) and may_end:
            return Match(True, stop, LineIndex(text).location(stop), stop, (), True)
        expected = self.expected(State(state))
        return Match(False, stop, LineIndex(text).location(stop), self._longest(text, stop), expected, may_end)

    def matches(self, text: str) -> bool:
        """Return whether a whole text is in the language. Raises like `match`."""
        state, stop = self._follow(self.start, text)
        return stop == len(text) and self._sets.accepts(state)

    def advance(self, state: State, text: str) -> State | None:
        """Return the state after `text`, or None if the grammar does not allow it. Raises like `match`."""
        stacks, stop = self._follow(state, text)
        return State(stacks) if stop == len(text) else None

    def admits(self, state: State, piece: bytes) -> bool:
        """Return whether a token of these bytes may come next. It may end inside a character that can become an allowed one."""
        text, low, high = _decoded(piece)
        after = self.advance(state, text) if text is not None else None
        if after is None:
            return False
        if low is None:
            return bool(text)
        terminals = self._grammar.program.terminals
        code = self._grammar.program.code
        unfinished = ((low, high),)
        return any(common(allowed(terminals[code[p]]), unfinished) for p in self._sets.terminals(after.stacks))

    def token_ids(self, state: State) -> tuple[list[int], list[int]]:
        """Return the token ids that the grammar names as next, `<[id]>`, and those that it excludes, `!<[id]>`."""
        program = self._grammar.program
        terminals = [program.terminals[program.code[position]] for position in self._sets.terminals(state.stacks)]
        named = [t for t in terminals if t.token_id is not None]
        return [t.token_id or 0 for t in named if not t.negated], [t.token_id or 0 for t in named if t.negated]

    def may_end(self, state: State) -> bool:
        """Return whether the text may end in this state."""
        return self._sets.accepts(state.stacks)

    def expected(self, state: State) -> tuple[Expected, ...]:
        """Return what may come next, in the order of the grammar, without duplicates."""
        found: dict[tuple[str, str], Expected] = {}
        for position in self._sets.terminals(state.stacks):
            expected = self._expected_at(position)
            found.setdefault((expected.words, expected.rule), expected)
        return tuple(found.values())

    def alternatives(self, state: State) -> int:
        """Return the number of stacks that llama.cpp follows in this state."""
        return self._sets.count(state.stacks)

    def _follow(self, state: State, text: str) -> tuple[Stacks, int]:
        """Return the last live set of stacks and the number of characters that led to it."""
        sets, stacks = self._sets, state.stacks
        sets.begin(len(text))
        dead, step = sets.dead, sets.step
        index = 0
        try:
            for index, char in enumerate(text):
                following = stacks.next.get(char) or step(stacks, char)
                if following is dead:
                    return stacks, index
                stacks = following
        except GrowthError as error:
            location = LineIndex(text).location(index)
            raise GrammarError(
                f"line {location.line}, column {location.column}: the text {error}",
                hint="find alternatives and repetitions that match the same text with `llamacli grammar lint`",
            ) from None
        return stacks, len(text)

    def _longest(self, text: str, stop: int) -> int | None:
        """Return the length of the longest prefix in the language: a second pass, only for texts that fail."""
        self._sets.begin(len(text))
        stacks = self.start.stacks
        longest = 0 if self._sets.accepts(stacks) else None
        for index in range(stop):
            stacks = stacks.next.get(text[index]) or self._sets.step(stacks, text[index])
            if self._sets.accepts(stacks):
                longest = index + 1
        return longest

    def _expected_at(self, position: int) -> Expected:
        program = self._grammar.program
        terminal = program.terminals[program.code[position]]
        node = program.origins[position]
        if terminal.token is not None:
            description = f"any token but {terminal.token}" if terminal.negated else f"the token {terminal.token}"
            return Expected(description, self._rule_of(node))
        if isinstance(node, Literal):
            description = self._rest_of_literal(position, node)
        elif isinstance(node, CharClass):
            description = words.characters(node.ranges, negated=node.negated)
        else:
            description = "any character"
        return Expected(description, self._rule_of(node), terminal.ranges, terminal.negated)

    def _rest_of_literal(self, position: int, node: Literal) -> str:
        origins = self._grammar.program.origins
        first = position
        while first > 0 and origins[first - 1] is node:
            first -= 1
        # A repetition puts copies of a literal side by side.
        done = (position - first) % len(node.codes)
        rest = words.quoted(node.codes[done:])
        return f"{rest} (the rest of {words.quoted(node.codes)})" if done else rest

    def _rule_of(self, node: AnyNode | None) -> str:
        index = bisect_right(self._starts, node.start) - 1 if node else 0
        return self._grammar.rules[index].name


def _decoded(piece: bytes) -> tuple[str | None, int | None, int]:
    """Return the complete characters of a piece, and the range of code points of an incomplete last one, or None.

    The text is None for bytes that are not UTF-8: no text continues with them between two characters.
    """
    try:
        return piece.decode(), None, 0
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return None, None, 0
        head, tail = piece[: error.start], piece[error.start :]
    length = 2 if tail[0] < 0xE0 else 3 if tail[0] < 0xF0 else 4
    missing = length - len(tail)
    least = {2: 0x80, 3: 0x800, 4: 0x10000}[length]
    value = tail[0] & (0x7F >> length)
    for byte in tail[1:]:
        value = value << 6 | (byte & 0x3F)
    low = value << 6 * missing
    return head.decode(), max(low, least), low | ((1 << 6 * missing) - 1)
