"""Explanation of a grammar: each rule in words, its users, and an example."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from llamacli.errors import GrammarError
from llamacli.grammar.analysis.linter import effective_rules
from llamacli.grammar.analysis.sampler import Sampler
from llamacli.grammar.gbnf import Grammar
from llamacli.grammar.program.graph import references
from llamacli.grammar.syntax import words
from llamacli.grammar.syntax.nodes import RuleReference, fold, walk

_MOST_EXAMPLES: Final = 60
_EXAMPLE_LENGTH: Final = 60
_MOST_ELEMENTS: Final = 20_000
"""Largest program for which examples are drawn."""


@dataclass(frozen=True, slots=True)
class RuleInWords:
    """A rule in words. `example` is a text that it matches, or None; `may_be_empty`: it matches the empty string."""

    name: str
    words: str
    used_by: tuple[str, ...]
    may_be_empty: bool
    example: str | None


def explain(grammar: Grammar) -> list[RuleInWords]:
    """Return the rules in effect, in the order of the source."""
    rules = effective_rules(grammar)
    users: dict[str, list[str]] = {name: [] for name in rules}
    for name, rule in rules.items():
        for node in walk(rule.body):
            if isinstance(node, RuleReference) and name not in users[node.name]:
                users[node.name].append(name)
    readable = grammar.with_tokens_as_text()
    nullable = references(readable.program).nullable
    examples = _MOST_EXAMPLES if len(readable.program.code) <= _MOST_ELEMENTS else 0
    return [
        RuleInWords(
            name,
            fold(rule.body, words.in_words),
            tuple(users[name]),
            readable.program.rule_ids[name] in nullable,
            _example(readable, name) if number < examples else None,
        )
        for number, (name, rule) in enumerate(rules.items())
    ]


def _example(grammar: Grammar, name: str) -> str | None:
    """Return a text of one rule, preferably neither empty nor long."""
    program = replace(grammar.program, root=grammar.program.rule_ids[name])
    try:
        texts = list(Sampler(Grammar(grammar.text, grammar.rules, program, name), seed=1).samples(8, _EXAMPLE_LENGTH))
    except GrammarError:
        return None
    return next((text for text in texts if text), texts[0])
