"""Sampler: random texts of a grammar, uniform over its short derivations.

Derivations are counted exactly and drawn by their counts (Hickey and Cohen, "Uniform random generation of strings in a
context-free language", 1983). A derivation's size is the number of its characters and rule applications, those of groups and
repetitions included. Counts are by excess, the size minus the smallest possible one: a grammar whose shortest text is long
costs no more than one with short texts, and every draw terminates.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from typing import Final

from llamacli.errors import GrammarError
from llamacli.grammar.gbnf import Grammar
from llamacli.grammar.program.alphabet import PLAIN, allowed, common, pick, size
from llamacli.grammar.program.code import END, Program, rule_of
from llamacli.grammar.program.graph import reachable, references
from llamacli.grammar.syntax.nodes import Ranges

MAX_EXCESS: Final = 100
"""Largest excess of a derivation, in small grammars."""
_COST: Final = 2_000_000
"""Largest number of multiplications while counting: large grammars get a smaller largest excess."""
_TRIES: Final = 200


class Sampler:
    """Sampler of a grammar. The same seed gives the same texts.

    Draws a size uniformly, then a derivation of that size uniformly, so that the many long texts do not crowd out short ones.
    """

    def __init__(self, grammar: Grammar, seed: int | None = None) -> None:
        """Count the derivations.

        Raises:
            GrammarError: if the grammar matches no finite text.
        """
        self._program = grammar.program
        self._random = random.Random(seed)
        self._letters = [allowed(terminal) for terminal in grammar.program.terminals]
        self._plain = [common(letters, PLAIN) for letters in self._letters]
        self._least = least_sizes(grammar.program, self._letters)
        if grammar.program.root not in self._least:
            hint = "every alternative needs itself, a character that no text can contain, or a token of a model"
            raise GrammarError(f"the rule {grammar.root} matches no finite text", hint=hint)
        self._live: dict[int, list[tuple[int, int]]] = {}  # finite alternatives, and their excess over the smallest
        self._sizes: dict[int, int] = {}  # the smallest size of each rest of a finite alternative
        self._rules: dict[int, list[int]] = {}
        self._suffixes: dict[int, list[int]] = {}
        self._count()

    def samples(self, number: int, max_length: int | None = None) -> Iterator[str]:
        """Yield `number` texts of at most `max_length` characters.

        Raises:
            GrammarError: if no text that short is found.
        """
        for _ in range(number):
            yield self.sample(max_length)

    def sample(self, max_length: int | None = None) -> str:
        """Return one text of at most `max_length` characters. Raises like `samples`."""
        counts = self._rules[self._program.root]
        sizes = [excess for excess, count in enumerate(counts) if count]
        for _ in range(_TRIES):
            text = self._draw(self._random.choice(sizes))
            if max_length is None or len(text) <= max_length:
                return text
        shortest = self._draw(0)
        if max_length is not None and len(shortest) > max_length:
            raise GrammarError(f"no text of at most {max_length} characters found: a short one has {len(shortest)}")
        return shortest

    def _count(self) -> None:
        """Count the derivations of each rule and each rest of an alternative, by excess.

        Within one excess, a count depends only on those of smaller size, or of the rule referred to.
        """
        program, least = self._program, self._least
        links = references(program)
        rules = [rule for rule in reachable(links.targets(links.positions), [program.root]) if rule in least]
        for rule in rules:
            self._live[rule] = [
                (start, size + 1 - least[rule])
                for start in program.alternatives[rule]
                if (size := self._measure(start)) is not None
            ]
        positions = list(self._sizes)
        calls = sum(program.code[position] < END for position in positions)
        excess = MAX_EXCESS
        while excess > 4 and calls * excess * excess // 2 + len(positions) * excess > _COST:
            excess = excess * 3 // 4
        self._rules = {rule: [0] * (excess + 1) for rule in rules}
        self._suffixes = {position: [0] * (excess + 1) for position in positions}
        order = sorted(
            [(least[rule], 0, rule) for rule in rules] + [(self._sizes[position], 1, position) for position in positions]
        )
        for more in range(excess + 1):
            for _, is_position, key in order:
                if is_position:
                    self._suffixes[key][more] = self._count_suffix(key, more)
                else:
                    self._rules[key][more] = sum(
                        self._suffixes[start][more - extra] for start, extra in self._live[key] if extra <= more
                    )

    def _measure(self, start: int) -> int | None:
        """Store the smallest size of every rest of an alternative. Return that of the whole, or None if it is not finite."""
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
        """Return the text of a derivation of this excess."""
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
        """Draw an alternative of a rule; return it with its remaining excess."""
        options = [(start, more - extra) for start, extra in self._live[rule] if extra <= more]
        return options[self._weighted([self._suffixes[start][left] for start, left in options])]

    def _weighted(self, weights: list[int]) -> int:
        """Draw an index by exact integer weights, which may exceed any float."""
        index = -1
        left = self._random.randrange(sum(weights))
        while left >= 0:
            index += 1
            left -= weights[index]
        return index

    def _character(self, terminal: int) -> str:
        """Draw a character of the class, mostly of plain ASCII if it has any."""
        plain, letters = self._plain[terminal], self._letters[terminal]
        ranges: Ranges = plain if plain and self._random.random() < 0.95 else letters
        return chr(pick(ranges, self._random.randrange(size(ranges))))


def least_sizes(program: Program, letters: list[Ranges]) -> dict[int, int]:
    """Return the size of each rule's smallest derivation, if it has one (Knuth 1977). `letters` are those of each terminal."""
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
    """Return one more than an alternative's characters, and its rule references; None if a terminal matches no text."""
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
