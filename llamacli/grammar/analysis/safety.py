"""Safety of a grammar that parses: undefined rules, left recursion and exponential growth in llama.cpp.

After parsing, llama.cpp searches for left recursion by recursion without memoization (`llama_grammar_detect_left_recursion`),
and then expands the start rule into parallel stacks (`llama_grammar_advance_stack`). Both can hang or overflow. This module
predicts the outcome in linear time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

from llamacli.grammar.program.alphabet import allowed, merged
from llamacli.grammar.program.code import END, Program, rule_of
from llamacli.grammar.program.graph import References, components, reachable, references
from llamacli.grammar.syntax.nodes import AnyNode, Repeat, Rule, RuleReference, walk
from llamacli.grammar.syntax.problems import Problem

MAX_CHAIN: Final = 4000
"""Our limit of a chain of rules that begin with one another: llama.cpp recurses over it."""
MAX_VISITS: Final = 5_000_000
"""Our limit of the steps of llama.cpp's search for left recursion, which visits shared rules repeatedly."""
MAX_STACKS: Final = 20_000
"""Our limit of the stacks at one position: llama.cpp compares each with all others at every character."""
MAX_OPTIONAL: Final = 32
"""Our limit of consecutive optional items that can begin with the same character: a token of n letters makes llama.cpp try all
subsets of n items."""


def problems_of(program: Program, rules: tuple[Rule, ...], root: str, end: int) -> list[Problem]:
    """Return all problems but those of syntax. `end` is the length of the text in characters."""
    links = references(program)
    problems = [*_undefined_rules(links, rules), *_missing_root(program, root, end), *_left_recursion(links)]
    return problems or _endless_search(links) or _too_many_stacks(links) or _optional_runs(links)


def _undefined_rules(links: References, rules: tuple[Rule, ...]) -> list[Problem]:
    """Return one problem per reference to an undefined rule."""
    program = links.program
    found: dict[AnyNode | None, int] = {}
    for positions in links.positions.values():
        for position in positions:
            rule = rule_of(program.code[position])
            if not program.alternatives[rule]:
                found[program.origins[position]] = rule
    # A rule that only a replaced definition refers to keeps its number, and llama.cpp requires all numbers below the last.
    last = max((rule for rule, starts in enumerate(program.alternatives) if starts), default=-1)
    unused = {rule for rule in range(last) if not program.alternatives[rule]}.difference(found.values())
    if unused:
        for node in (node for rule in rules for node in walk(rule.body)):
            if isinstance(node, RuleReference) and program.rule_ids[node.name] in unused:
                found[node] = program.rule_ids[node.name]
    return [
        Problem("undefined-rule", f"the rule {program.names[rule]} is not defined", *_span(node))
        for node, rule in found.items()
    ]


def _missing_root(program: Program, root: str, end: int) -> list[Problem]:
    """Return a problem if the start rule is missing."""
    if program.root >= 0 and program.alternatives[program.root]:
        return []
    hint = f"the grammar matches what the rule {root} matches"
    return [Problem("missing-root", f"the rule {root} is not defined", end, end, hint=hint)]


def _left_recursion(links: References) -> list[Problem]:
    """Return the left recursion that llama.cpp detects, or else that on which it does not terminate."""
    leading = links.first(links.directly_empty)
    problems = [_recursion(links, leading, cycle, unsafe=False) for cycle in _cycles(links, leading)]
    if problems or links.program.root < 0:
        return problems
    code = links.program.code
    leading = links.first(links.nullable)
    used = links.used()
    for cycle in _cycles(links, leading):
        # If nothing follows the reference, llama.cpp's stacks do not grow, and it detects the repeated state.
        grows = any(
            code[position + 1] != END for rule in cycle for position in leading[rule] if rule_of(code[position]) in cycle
        )
        if grows and not used.isdisjoint(cycle):
            problems.append(_recursion(links, leading, cycle, unsafe=True))
    return problems


def _endless_search(links: References) -> list[Problem]:
    """Bound the depth and the number of calls of llama.cpp's search for left recursion."""
    targets = links.targets(links.first(links.directly_empty))
    depth: dict[int, int] = {}
    visits: dict[int, int] = {}
    for (rule,) in components(targets):
        depth[rule] = 1 + max(depth.get(target, 1) for target in targets[rule])
        visits[rule] = min(1 + sum(visits.get(target, 1) for target in targets[rule]), MAX_VISITS + 1)
        if depth[rule] > MAX_CHAIN:
            return [_at_rule(links, rule, "too-deep", f"more than {MAX_CHAIN:,} rules begin with one another")]
        if visits[rule] > MAX_VISITS:
            message = "too many rules begin with the same rules: llama.cpp would not terminate"
            return [_at_rule(links, rule, "too-ambiguous", message)]
    return []


def _too_many_stacks(links: References) -> list[Problem]:
    """Bound the stacks at every position from above: alternatives add up, and so do successors of nullable rules."""
    program = links.program
    used = links.used()
    stacks = _stacks_of_rules(links, used)
    for rule in sorted(used):
        most = stacks[rule]
        after, count = -1, 0
        for position in reversed(links.positions.get(rule, ())):
            target = rule_of(program.code[position])
            following = count if position + 1 == after else 1
            count = stacks[target] + (following if target in links.nullable else 0)
            after = position
            most = max(most, count)
        if most > MAX_STACKS:
            message = f"llama.cpp would have to follow more than {MAX_STACKS:,} alternatives at once here"
            return [_at_rule(links, rule, "too-ambiguous", message)]
    return []


def _stacks_of_rules(links: References, used: set[int]) -> dict[int, int]:
    """Return the largest number of stacks that each rule in `used` expands to, capped at one more than the limit."""
    program = links.program
    stacks = {rule: len(program.alternatives[rule]) for rule in used}
    leading = {rule: positions for rule, positions in links.first(links.nullable).items() if rule in used}
    targets = links.targets(leading)
    for cycle in components(targets):
        # Within a cycle nothing is pushed (it would be left recursion), so its rules expand to the same stacks.
        total = sum(
            len(program.alternatives[rule]) + sum(stacks[target] for target in targets[rule] if target not in cycle)
            for rule in cycle
        )
        stacks.update(dict.fromkeys(cycle, min(total, MAX_STACKS + 1)))
    return stacks


def _optional_runs(links: References) -> list[Problem]:
    """Bound the consecutive optional items that can begin with the same character."""
    for rule in sorted(links.used()):
        if any(len(run) > MAX_OPTIONAL and _overlap(links, run) > MAX_OPTIONAL for run in _nullable_runs(links, rule)):
            message = f"more than {MAX_OPTIONAL} optional items that begin alike follow one another"
            return [_at_rule(links, rule, "too-ambiguous", f"{message}: llama.cpp would not terminate")]
    return []


def _nullable_runs(links: References, rule: int) -> list[list[int]]:
    """Return the consecutive references of a rule to nullable rules."""
    runs: list[list[int]] = [[]]
    before = -1
    for position in links.positions.get(rule, ()):
        target = rule_of(links.program.code[position])
        if position != before + 1 or target not in links.nullable:
            runs.append([])
        if target in links.nullable:
            runs[-1].append(target)
        before = position
    return runs


def _overlap(links: References, rules: list[int]) -> int:
    """Return the largest number of rules that can begin with the same character."""
    program = links.program
    leading = links.targets(links.first(links.nullable))
    changes: Counter[int] = Counter()
    for rule in rules:
        terminals = {
            program.code[position]
            for reached in reachable(leading, [rule])
            for start in program.alternatives[reached]
            if program.code[position := _after_nullable(links, start)] > END
        }
        ranges = merged(tuple(pair for terminal in terminals for pair in allowed(program.terminals[terminal])))
        for low, high in ranges:
            changes[low] += 1
            changes[high + 1] -= 1
    return max(accumulate(change for _, change in sorted(changes.items())), default=0)


def _after_nullable(links: References, position: int) -> int:
    """Return the position of the first symbol of an alternative that is not a nullable rule."""
    code = links.program.code
    while code[position] < END and rule_of(code[position]) in links.nullable:
        position += 1
    return position


def _cycles(links: References, leading: Mapping[int, list[int]]) -> list[set[int]]:
    """Return the sets of rules that can begin with one another."""
    targets = links.targets(leading)
    return [set(found) for found in components(targets) if len(found) > 1 or found[0] in targets[found[0]]]


def _recursion(links: References, leading: Mapping[int, list[int]], cycle: set[int], *, unsafe: bool) -> Problem:
    """Return the problem for a cycle of rules, at the reference that comes first in the source."""
    program = links.program
    steps = [position for rule in cycle for position in leading[rule] if rule_of(program.code[position]) in cycle]
    start, end = min(_span(program.origins[position]) for position in steps)
    if all(isinstance(program.origins[position], Repeat) for position in steps):
        message = "this repeats an item that can be empty, which llama.cpp takes for left recursion"
        hint = "remove the empty alternative: * and ? allow no occurrence anyway"
        return Problem("left-recursion", message, start, end, hint=hint, unsafe=unsafe)
    names = list(dict.fromkeys(program.names[rule] for rule in sorted(cycle)))
    if len(names) == 1:
        message = f"left recursion: {names[0]} can begin with itself"
    else:
        message = f"left recursion: {', '.join(names[:8])} can begin with one another"
    hint = "put a non-empty item before it, or write a repetition: x ::= y (op y)*"
    return Problem("left-recursion", message, start, end, hint=hint, unsafe=unsafe)


def _at_rule(links: References, rule: int, kind: str, message: str) -> Problem:
    program = links.program
    positions = links.positions.get(rule) or [start for start in program.alternatives[rule] if program.code[start] != END]
    start, end = min((_span(program.origins[position]) for position in positions), default=(0, 0))
    return Problem(kind, f"{message} (rule {program.names[rule]})", start, end, unsafe=True)


def _span(node: AnyNode | None) -> tuple[int, int]:
    return (node.start, node.end) if node else (0, 0)
