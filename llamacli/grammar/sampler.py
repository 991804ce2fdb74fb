"""Random texts of a grammar's language, drawn evenly from its short derivations.

Derivations are counted exactly and drawn by their counts (Hickey and Cohen, "Uniform random generation of strings in a
context-free language", 1983). A derivation's size is the number of its characters and rule applications, those of groups and
repetitions included. Everything is counted by excess, the size over the least possible one: so a grammar of which the
shortest text is long costs no more than one with short texts, and every draw ends.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from typing import Final

from llamacli.errors import GrammarError
from llamacli.grammar import Grammar
from llamacli.grammar.alphabet import PLAIN, allowed, common, pick, size
from llamacli.grammar.graph import reachable, references
from llamacli.grammar.nodes import Ranges
from llamacli.grammar.program import END, Program, rule_of

MAX_EXCESS: Final = 100
"""How much larger than the smallest derivation the largest may be, in small grammars."""
_COST: Final = 2_000_000
"""Bounds the multiplications of counting: in large grammars the largest excess is less."""
_TRIES: Final = 200


class Sampler:
    """Draws texts from a grammar. The same seed gives the same texts.

    The size is drawn first, evenly, and then a derivation of that size, evenly: so short texts are not drowned by the many
    more long ones. Raises `GrammarError` where no text can end.
    """

    def __init__(self, grammar: Grammar, seed: int | None = None) -> None:
        self._program = grammar.program
        self._random = random.Random(seed)
        self._letters = [allowed(terminal) for terminal in grammar.program.terminals]
        self._plain = [common(letters, PLAIN) for letters in self._letters]
        self._least = least_sizes(grammar.program, self._letters)
        if grammar.program.root not in self._least:
            hint = "every alternative needs itself, a character that no text can hold, or a token known only to a model"
            raise GrammarError(f"no text of the rule {grammar.root} can end", hint=hint)
        self._live: dict[int, list[tuple[int, int]]] = {}  # alternatives that can end, and their excess over the smallest
        self._sizes: dict[int, int] = {}  # the least size of each rest of an alternative that can end
        self._rules: dict[int, list[int]] = {}
        self._suffixes: dict[int, list[int]] = {}
        self._count()

    def samples(self, number: int, max_length: int | None = None) -> Iterator[str]:
        """`number` texts of at most `max_length` characters. Raises `GrammarError` where none is that short."""
        for _ in range(number):
            yield self.sample(max_length)

    def sample(self, max_length: int | None = None) -> str:
        """One text."""
        counts = self._rules[self._program.root]
        sizes = [excess for excess, count in enumerate(counts) if count]
        for _ in range(_TRIES):
            text = self._draw(self._random.choice(sizes))
            if max_length is None or len(text) <= max_length:
                return text
        shortest = self._draw(0)
        if max_length is not None and len(shortest) > max_length:
            raise GrammarError(f"no text of at most {max_length} characters was found: a short one has {len(shortest)}")
        return shortest

    def _count(self) -> None:
        """Counts the derivations of each rule and each rest of an alternative, by excess.

        Within one excess, what is counted depends only on what has a smaller least size, or is the rule referred to.
        """
        program, least = self._program, self._least
        links = references(program)
        rules = [rule for rule in reachable(links.targets(links.places), [program.root]) if rule in least]
        for rule in rules:
            self._live[rule] = [
                (start, size + 1 - least[rule])
                for start in program.alternatives[rule]
                if (size := self._measure(start)) is not None
            ]
        places = list(self._sizes)
        calls = sum(program.code[position] < END for position in places)
        excess = MAX_EXCESS
        while excess > 4 and calls * excess * excess // 2 + len(places) * excess > _COST:
            excess = excess * 3 // 4
        self._rules = {rule: [0] * (excess + 1) for rule in rules}
        self._suffixes = {position: [0] * (excess + 1) for position in places}
        order = sorted([(least[rule], 0, rule) for rule in rules] + [(self._sizes[place], 1, place) for place in places])
        for more in range(excess + 1):
            for _, is_place, key in order:
                if is_place:
                    self._suffixes[key][more] = self._count_suffix(key, more)
                else:
                    self._rules[key][more] = sum(
                        self._suffixes[start][more - extra] for start, extra in self._live[key] if extra <= more
                    )

    def _measure(self, start: int) -> int | None:
        """Notes the least size of every rest of an alternative. Returns that of the whole, None if it cannot end."""
        sizes = []
        position = start
        while (symbol := self._program.code[position]) != END:
            least = self._least.get(rule_of(symbol), 0) if symbol < END else int(bool(self._letters[symbol]))
            if not least:
                return None
            sizes.append(least)
            position += 1
        total = self._sizes[position] = 0
        for index in range(len(sizes) - 1, -1, -1):
            total += sizes[index]
            self._sizes[start + index] = total
        return total

    def _count_suffix(self, position: int, more: int) -> int:
        symbol = self._program.code[position]
        if symbol == END:
            return int(more == 0)
        following = self._suffixes[position + 1]
        if symbol > END:
            return following[more]
        counts = self._rules[rule_of(symbol)]
        return sum(counts[part] * following[more - part] for part in range(more + 1) if counts[part])

    def _draw(self, excess: int) -> str:
        """One derivation of this excess, written out."""
        code = self._program.code
        text: list[str] = []
        todo = [(self._start(self._program.root, excess))]
        while todo:
            position, more = todo.pop()
            symbol = code[position]
            if symbol > END:
                text.append(self._character(symbol))
                todo.append((position + 1, more))
            elif symbol < END:
                counts, following = self._rules[rule_of(symbol)], self._suffixes[position + 1]
                weights = [counts[part] * following[more - part] for part in range(more + 1)]
                part = self._weighted(weights)
                todo.append((position + 1, more - part))
                todo.append(self._start(rule_of(symbol), part))
        return "".join(text)

    def _start(self, rule: int, more: int) -> tuple[int, int]:
        """An alternative of a rule, and the excess that is left in it."""
        options = [(start, more - extra) for start, extra in self._live[rule] if extra <= more]
        return options[self._weighted([self._suffixes[start][left] for start, left in options])]

    def _weighted(self, weights: list[int]) -> int:
        """An index, by exact weights that may exceed any float."""
        index = -1
        left = self._random.randrange(sum(weights))
        while left >= 0:
            index += 1
            left -= weights[index]
        return index

    def _character(self, terminal: int) -> str:
        """A character of the class: mostly one of plain ASCII, if it holds any."""
        plain, letters = self._plain[terminal], self._letters[terminal]
        ranges: Ranges = plain if plain and self._random.random() < 0.95 else letters
        return chr(pick(ranges, self._random.randrange(size(ranges))))


def least_sizes(program: Program, letters: list[Ranges]) -> dict[int, int]:
    """The size of the smallest derivation of each rule that has any (Knuth 1977). `letters` are those of each terminal."""
    users: dict[int, list[int]] = {}
    heads: list[int] = []
    missing: list[int] = []
    sums: list[int] = []
    ready: list[tuple[int, int]] = []
    for rule, starts in enumerate(program.alternatives):
        for start in starts:
            scanned = _scan(program, letters, start)
            if scanned is None:
                continue
            total, calls = scanned
            for called in calls:
                users.setdefault(called, []).append(len(heads))
            if not calls:
                ready.append((total, rule))
            heads.append(rule)
            missing.append(len(calls))
            sums.append(total)
    least: dict[int, int] = {}
    heapq.heapify(ready)
    while ready:
        total, rule = heapq.heappop(ready)
        if rule in least:
            continue
        least[rule] = total
        for alternative in users.get(rule, ()):
            sums[alternative] += total
            missing[alternative] -= 1
            if not missing[alternative]:
                heapq.heappush(ready, (sums[alternative], heads[alternative]))
    return least


def _scan(program: Program, letters: list[Ranges], start: int) -> tuple[int, list[int]] | None:
    """One more than an alternative's characters, and the rules that it refers to; None where no text fits a terminal."""
    total, calls, position = 1, [], start
    while (symbol := program.code[position]) != END:
        if symbol < END:
            calls.append(rule_of(symbol))
        elif letters[symbol]:
            total += 1
        else:
            return None
        position += 1
    return total, calls
