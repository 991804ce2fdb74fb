"""Detection of ambiguous alternatives and exponential growth, each by an example."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Final

from llamacli.errors import GrammarError
from llamacli.grammar.analysis.sampler import Sampler
from llamacli.grammar.automaton.stack_sets import StackSets
from llamacli.grammar.automaton.stack_store import GrowthError, Stacks
from llamacli.grammar.gbnf import Grammar
from llamacli.grammar.matcher import Matcher
from llamacli.grammar.program.alphabet import PLAIN, TEXT, common, merged, pick
from llamacli.grammar.program.code import END, rule_of
from llamacli.grammar.syntax import words
from llamacli.grammar.syntax.nodes import AnyNode, Choice, Group, Rule, Sequence, walk
from llamacli.grammar.syntax.problems import Problem

_MOST_OPTIONS: Final = 40
_MOST_PAIRS: Final = 400
"""Largest number of pairs of states in a search for a common text."""
_MOST_STEPS: Final = 150_000
"""Largest number of steps of all searches: they find less in very large grammars."""
_MOST_ELEMENTS: Final = 50_000
"""Largest program of which texts are sampled to count their readings."""
_MANY_STACKS: Final = 1000
_TEXTS: Final = 30
_LENGTH: Final = 60


def findings(grammar: Grammar) -> list[Problem]:
    """Return warnings about alternatives that match the same text, and about texts that llama.cpp reads in very many ways."""
    search = _Search(grammar)
    problems: list[Problem] = []
    for choice, starts in _choices(grammar):
        problems += search.common_texts(choice, starts)
        if search.steps_left <= 0:
            break
    return [*problems, *_growth(grammar)] if len(grammar.program.code) <= _MOST_ELEMENTS else problems


def _choices(grammar: Grammar) -> Iterator[tuple[Choice, tuple[int, ...]]]:
    """Yield each choice of at least two alternatives, and where these start in the program."""
    program = grammar.program
    groups: dict[AnyNode, int] = {}
    for symbol, node in zip(program.code, program.origins, strict=True):
        if symbol < END and isinstance(node, Group):
            groups[node] = rule_of(symbol)
    rules: dict[str, Rule] = {rule.name: rule for rule in grammar.rules}
    for rule in rules.values():
        for node in (node for node in walk(rule.body) if isinstance(node, Choice | Group)):
            choice = node.body if isinstance(node, Group) else node
            if isinstance(node, Choice) and node is not rule.body:
                continue
            number = groups.get(node) if isinstance(node, Group) else program.rule_ids[rule.name]
            if number is not None and 1 < len(choice.options) <= _MOST_OPTIONS:
                yield choice, program.alternatives[number]


class _Search:
    """Search for texts that two alternatives share. All searches share the cache and the limit of steps."""

    def __init__(self, grammar: Grammar) -> None:
        self._sets = StackSets(grammar.program)
        self._letters = _letters(grammar)
        self.steps_left = _MOST_STEPS

    def common_texts(self, choice: Choice, starts: tuple[int, ...]) -> Iterator[Problem]:
        """Yield a warning for each alternative that shares a text with an earlier one."""
        reported: set[int] = set()
        for first, second in combinations(range(len(starts)), 2):
            if second in reported or not (choice.options[first].items or choice.options[second].items):
                continue
            text = self._common_text(starts[first], starts[second])
            if text is not None:
                reported.add(second)
                option: Sequence = choice.options[second]
                what = words.quoted(text) if text else "the empty string"
                message = f"alternatives {first + 1} and {second + 1} both match {what}"
                start, end = (option.start, max(option.end, option.start + 1))
                yield Problem("ambiguous-alternatives", message, start, end, "warning")

    def _common_text(self, first: int, second: int) -> str | None:
        """Return the shortest text that both alternatives match, if a short search finds one."""
        sets = self._sets
        sets.begin(0)
        try:
            start = (sets.opening(first), sets.opening(second))
            texts: dict[tuple[Stacks, Stacks], str] = {start: ""}
            todo = deque([start])
            while todo and len(texts) < _MOST_PAIRS and self.steps_left > 0:
                left, right = pair = todo.popleft()
                if sets.accepts(left) and sets.accepts(right):
                    return texts[pair]
                self.steps_left -= len(self._letters)
                for char in self._letters:
                    after = sets.step(left, char)
                    if after is sets.dead:
                        continue
                    both = (after, sets.step(right, char))
                    if both[1] is not sets.dead and both not in texts:
                        texts[both] = texts[pair] + char
                        todo.append(both)
        except GrowthError:
            return None
        return None


def _letters(grammar: Grammar) -> list[str]:
    """Return one character of each class that the grammar distinguishes, a readable one if possible."""
    bounds = {0, 0x110000}
    for terminal in grammar.program.terminals:
        for low, high in merged(terminal.ranges):
            bounds.update((low, high + 1))
    ordered = sorted(bound for bound in bounds if bound <= 0x110000)
    found = []
    for low, after in pairwise(ordered):
        kind = common(((low, after - 1),), TEXT)
        if kind:
            found.append(chr(pick(common(kind, PLAIN) or kind, 0)))
    return found


def _growth(grammar: Grammar) -> Iterator[Problem]:
    """Yield a warning if a short text of the language makes llama.cpp follow very many stacks at once."""
    readable = grammar.with_tokens_as_text()
    matcher = Matcher(readable)
    try:
        texts = list(Sampler(readable, seed=0).samples(_TEXTS))
    except GrammarError:
        return
    for text in texts:
        state = matcher.start
        for length, char in enumerate(text[:_LENGTH]):
            following = matcher.advance(state, char)
            if following is None:
                break
            state = following
            count = matcher.alternatives(state)
            if count > _MANY_STACKS:
                root = next(rule for rule in reversed(grammar.rules) if rule.name == grammar.root)
                message = f"after {words.quoted(text[: length + 1])} llama.cpp follows {count:,} readings at once"
                hint = "the same text has exponentially many readings: make alternatives begin differently"
                yield Problem("exponential-growth", message, root.start, root.name_end, "warning", hint)
                return
