"""Linter: all errors in a grammar, and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from llamacli.grammar.analysis import ambiguity
from llamacli.grammar.analysis.sampler import least_sizes
from llamacli.grammar.gbnf import Grammar, examine
from llamacli.grammar.program.alphabet import allowed
from llamacli.grammar.program.code import MAX_REPETITION
from llamacli.grammar.program.graph import reachable, references
from llamacli.grammar.syntax.nodes import (
    AnyNode,
    CharClass,
    Choice,
    Group,
    Literal,
    Repeat,
    Rule,
    RuleReference,
    Sequence,
    walk,
)
from llamacli.grammar.syntax.problems import Problem

_MOST_WARNINGS: Final = 500


def lint(text: str, root: str = "root") -> list[Problem]:
    """Return all errors and warnings, in the order of the text.

    Warnings about meaning (unused, endless, ambiguous) need a valid grammar: they are omitted if there are errors.
    """
    grammar, problems = examine(text, root, every_problem=True)
    problems += _bad_ranges(grammar)
    if not any(problem.severity == "error" and problem.kind != "bad-range" for problem in problems):
        problems += [*_replaced(grammar), *_unused(grammar), *_endless(grammar), *_empty(grammar), *_repetitions(grammar)]
        problems += ambiguity.findings(grammar)
    return sorted(problems, key=lambda problem: (problem.start, problem.severity))[:_MOST_WARNINGS]


def _warning(kind: str, message: str, start: int, end: int, hint: str | None = None) -> Problem:
    return Problem(kind, message, start, end, "warning", hint)


def effective_rules(grammar: Grammar) -> dict[str, Rule]:
    """Return the rules in effect by name: the last of several with the same name."""
    return {rule.name: rule for rule in grammar.rules}


def _nodes(grammar: Grammar) -> Iterator[AnyNode]:
    for rule in effective_rules(grammar).values():
        yield from walk(rule.body)


def _bad_ranges(grammar: Grammar) -> Iterator[Problem]:
    """Yield reversed ranges, which llama.cpp accepts silently but never matches, and ranges over both cases of letters."""
    for node in _nodes(grammar):
        if not isinstance(node, CharClass):
            continue
        for low, high in node.ranges:
            if low > high:
                message = f"the range {_code(low)}-{_code(high)} is reversed and matches nothing"
                yield Problem("bad-range", message, node.start, node.end, hint=f"write {_code(high)}-{_code(low)}")
            elif 0x41 <= low <= 0x5A and 0x61 <= high <= 0x7A:
                message = f"the range {chr(low)}-{chr(high)} also contains [ \\ ] ^ _ and the backquote"
                yield _warning("suspicious-range", message, node.start, node.end, "write A-Za-z")
            elif high > 0x10FFFF and high != 0xFFFFFFFF:
                message = f"the range ends at U+{high:X}, beyond the last character U+10FFFF"
                yield _warning("suspicious-range", message, node.start, node.end)


def _replaced(grammar: Grammar) -> Iterator[Problem]:
    last = effective_rules(grammar)
    for rule in grammar.rules:
        if last[rule.name] is not rule:
            message = f"the rule {rule.name} is defined again below, and only the last definition is in effect"
            yield _warning("replaced-rule", message, rule.start, rule.name_end)


def _unused(grammar: Grammar) -> Iterator[Problem]:
    """Yield rules not reachable from the root, and among these, rules without any reference."""
    rules = effective_rules(grammar)
    names = {
        name: {node.name for node in walk(rule.body) if isinstance(node, RuleReference)} - {name}
        for name, rule in rules.items()
    }
    ids = {name: index for index, name in enumerate(rules)}
    edges = {ids[name]: [ids[other] for other in named if other in ids] for name, named in names.items()}
    needed = reachable(edges, [ids[grammar.root]])
    named_anywhere: set[str] = set().union(*names.values())
    for name, rule in rules.items():
        if ids[name] in needed:
            continue
        if name in named_anywhere:
            message = f"the rule {name} cannot be reached from {grammar.root}"
            yield _warning("unreachable-rule", message, rule.start, rule.name_end)
        else:
            yield _warning("unused-rule", f"no rule refers to {name}", rule.start, rule.name_end)


def _endless(grammar: Grammar) -> Iterator[Problem]:
    """Yield rules that match no finite text."""
    program = grammar.with_tokens_as_text().program
    letters = [allowed(t) if t.token is None else ((1, 1),) for t in program.terminals]
    least = least_sizes(program, letters)
    for name, rule in effective_rules(grammar).items():
        if program.rule_ids[name] not in least:
            message = f"the rule {name} matches no finite text"
            yield _warning("endless-rule", message, rule.start, rule.name_end, "add an alternative that does not refer to it")


def _empty(grammar: Grammar) -> Iterator[Problem]:
    for rule in effective_rules(grammar).values():
        for node in walk(rule.body):
            if isinstance(node, Choice) and len(node.options) == 1 and not node.options[0].items:
                whole = node is rule.body
                message = f"the rule {rule.name} is empty" if whole else "this group is empty"
                yield _warning("empty-rule" if whole else "empty-group", message, *_shown(node, rule))
            elif isinstance(node, Choice):
                yield from _empty_options(node)
            elif isinstance(node, CharClass) and not node.ranges:
                message = "a class without characters matches the empty string"
                hint = "for any character write ." if node.negated else None
                yield _warning("empty-class", message, node.start, node.end, hint)
            elif isinstance(node, Sequence) and len(node.items) > 1:
                for item in node.items:
                    if isinstance(item, Literal) and not item.codes:
                        yield _warning("empty-literal", "this empty literal has no effect", item.start, item.end)


def _empty_options(choice: Choice) -> Iterator[Problem]:
    """Yield empty alternatives, which are often mistakes: `a |` or `a | | b`. An empty first one is idiomatic for optional."""
    for option in choice.options[1:]:
        if not option.items:
            end = max(option.end, option.start + 1)
            message = "this alternative is empty: it matches the empty string"
            yield _warning("empty-alternative", message, option.start, end, 'if intended, write "" or (...)?')


def _repetitions(grammar: Grammar) -> Iterator[Problem]:
    """Yield bounds that llama.cpp ignores, and repetitions of repeated or empty items."""
    links = references(grammar.program)
    empty_names = {grammar.program.names[rule] for rule in links.nullable if not grammar.program.generated[rule]}
    for node in _nodes(grammar):
        if not isinstance(node, Repeat):
            continue
        if node.written_maximum != node.maximum:
            message = f"llama.cpp ignores an upper bound above {MAX_REPETITION:,}"
            yield _warning("bound-ignored", message, node.operator, node.end)
        if node.maximum == 0:
            yield _warning("empty-repetition", "this item is repeated 0 times", node.operator, node.end)
        if node.maximum is None or node.maximum > 1:
            yield from _ambiguous_repetition(node, empty_names)


def _ambiguous_repetition(node: Repeat, empty_names: set[str]) -> Iterator[Problem]:
    inner: AnyNode = node.item
    while isinstance(inner, Group) and len(inner.body.options) == 1 and len(inner.body.options[0].items) == 1:
        inner = inner.body.options[0].items[0]
    if isinstance(inner, Repeat) and inner is not node.item and inner.maximum is None and node.maximum is None:
        message = "this repeats a repetition: the same text has exponentially many readings"
        yield _warning("exponential-repetition", message, node.operator, node.end, "one of the two is enough")
    elif isinstance(inner, RuleReference) and inner.name in empty_names:
        message = f"this repeats {inner.name}, which can be empty: the same text has many readings"
        yield _warning(
            "exponential-repetition", message, node.operator, node.end, f"make {inner.name} match at least one character"
        )


def _shown(choice: Choice, rule: Rule) -> tuple[int, int]:
    return (rule.start, rule.name_end) if choice is rule.body else (max(choice.start - 1, 0), choice.end + 1)


def _code(code: int) -> str:
    return chr(code) if 0x20 < code < 0x7F else f"\\u{code:04X}"
