"""Whether llama.cpp survives a grammar that its parser can read: undefined rules, left recursion and what explodes.

After parsing, llama.cpp walks the rules that can come first in one another, by recursion and without a memory
(`llama_grammar_detect_left_recursion`), and then expands the start rule into parallel stacks
(`llama_grammar_advance_stack`). Both can take forever or overflow. Here the same is told in linear time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llamacli.grammar.graph import References, components, references
from llamacli.grammar.nodes import AnyNode, Rule, RuleReference, walk
from llamacli.grammar.problems import Problem
from llamacli.grammar.program import END, Program, rule_of

MAX_CHAIN: Final = 4000
"""Our bound on rules that begin with one another: llama.cpp recurses over them."""
MAX_VISITS: Final = 5_000_000
"""Our bound on the steps of llama.cpp's search for left recursion, which visits shared rules again and again."""
MAX_STACKS: Final = 20_000
"""Our bound on the stacks that one place can expand to: llama.cpp compares each with all others at every character."""


def problems_of(program: Program, rules: tuple[Rule, ...], root: str, end: int) -> list[Problem]:
    """Everything but syntax: undefined rules, a missing root, left recursion, and what explodes. `end` is the text's length."""
    links = references(program)
    problems = [*_undefined_rules(links, rules), *_missing_root(program, root, end), *_left_recursion(links)]
    return problems or _endless_search(links) or _too_many_stacks(links)


def _undefined_rules(links: References, rules: tuple[Rule, ...]) -> list[Problem]:
    """References to rules that are not defined, one problem for each place."""
    program = links.program
    found: dict[AnyNode | None, int] = {}
    for positions in links.places.values():
        for position in positions:
            rule = rule_of(program.code[position])
            if not program.alternatives[rule]:
                found[program.origins[position]] = rule
    # A rule that only a replaced definition refers to keeps its number, and llama.cpp wants every number below the last.
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
    """llama.cpp starts at the rule `root`."""
    if program.root >= 0 and program.alternatives[program.root]:
        return []
    hint = f"the text that the grammar describes is what the rule {root} matches"
    return [Problem("missing-root", f"there is no rule {root}", end, end, hint=hint)]


def _left_recursion(links: References) -> list[Problem]:
    """Rules that come first in themselves: what llama.cpp detects, and else what it does not and then never ends."""
    places = links.first(links.directly_empty)
    problems = [_recursion(links, places, cycle, unsafe=False) for cycle in _cycles(links, places)]
    if problems or links.program.root < 0:
        return problems
    code = links.program.code
    places = links.first(links.nullable)
    used = links.used()
    for cycle in _cycles(links, places):
        # Where nothing follows the reference, llama.cpp's stacks do not grow, and it notices that it was there before.
        grows = any(
            code[position + 1] != END for rule in cycle for position in places[rule] if rule_of(code[position]) in cycle
        )
        if grows and not used.isdisjoint(cycle):
            problems.append(_recursion(links, places, cycle, unsafe=True))
    return problems


def _endless_search(links: References) -> list[Problem]:
    """Bounds the depth and the number of calls of llama.cpp's search for left recursion."""
    targets = links.targets(links.first(links.directly_empty))
    depth: dict[int, int] = {}
    visits: dict[int, int] = {}
    for (rule,) in components(targets):
        depth[rule] = 1 + max(depth.get(target, 1) for target in targets[rule])
        visits[rule] = min(1 + sum(visits.get(target, 1) for target in targets[rule]), MAX_VISITS + 1)
        if depth[rule] > MAX_CHAIN:
            return [_at_rule(links, rule, "too-deep", f"more than {MAX_CHAIN:,} rules begin with one another")]
        if visits[rule] > MAX_VISITS:
            message = "so many rules begin with the same rules that llama.cpp does not end"
            return [_at_rule(links, rule, "too-ambiguous", message)]
    return []


def _too_many_stacks(links: References) -> list[Problem]:
    """Bounds the stacks of every place from above: alternatives add up, and so does what follows something empty."""
    program = links.program
    used = links.used()
    stacks = _stacks_of_rules(links, used)
    for rule in sorted(used):
        most = stacks[rule]
        after, count = -1, 0
        for position in reversed(links.places.get(rule, ())):
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
    """How many stacks each rule in `used` expands to at most, up to one more than the bound."""
    program = links.program
    stacks = {rule: len(program.alternatives[rule]) for rule in used}
    leading = {rule: positions for rule, positions in links.first(links.nullable).items() if rule in used}
    targets = links.targets(leading)
    for cycle in components(targets):
        # Within a cycle nothing is pushed (that would be left recursion), so its rules expand to the same stacks.
        total = sum(
            len(program.alternatives[rule]) + sum(stacks[target] for target in targets[rule] if target not in cycle)
            for rule in cycle
        )
        stacks.update(dict.fromkeys(cycle, min(total, MAX_STACKS + 1)))
    return stacks


def _cycles(links: References, places: Mapping[int, list[int]]) -> list[set[int]]:
    """The sets of rules that can begin with one another."""
    targets = links.targets(places)
    return [set(found) for found in components(targets) if len(found) > 1 or found[0] in targets[found[0]]]


def _recursion(links: References, places: Mapping[int, list[int]], cycle: set[int], *, unsafe: bool) -> Problem:
    """One problem for a cycle of rules, at the reference that comes first in the source."""
    program = links.program
    steps = [position for rule in cycle for position in places[rule] if rule_of(program.code[position]) in cycle]
    names = list(dict.fromkeys(program.names[rule] for rule in sorted(cycle)))
    if len(names) == 1:
        message = f"left recursion: {names[0]} can begin with itself"
    else:
        message = f"left recursion: {', '.join(names[:8])} can begin with one another"
    hint = "make something that is not empty come before it, or write it as a repetition: x ::= y (op y)*"
    start, end = min(_span(program.origins[position]) for position in steps)
    return Problem("left-recursion", message, start, end, hint=hint, unsafe=unsafe)


def _at_rule(links: References, rule: int, kind: str, message: str) -> Problem:
    program = links.program
    positions = links.places.get(rule) or [start for start in program.alternatives[rule] if program.code[start] != END]
    start, end = min((_span(program.origins[position]) for position in positions), default=(0, 0))
    return Problem(kind, f"{message} (rule {program.names[rule]})", start, end, unsafe=True)


def _span(node: AnyNode | None) -> tuple[int, int]:
    return (node.start, node.end) if node else (0, 0)
