"""Whether llama.cpp survives a grammar that its parser can read: undefined rules, left recursion and what explodes.

After parsing, llama.cpp walks the rules that can come first in one another, by recursion and without a memory
(`llama_grammar_detect_left_recursion`), and then expands the start rule into parallel stacks
(`llama_grammar_advance_stack`). Both can take forever or overflow. Here the same is told in linear time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from llamacli.grammar.graph import components, nullable_rules, positions, reachable, references
from llamacli.grammar.nodes import AnyNode, Rule, RuleReference, walk
from llamacli.grammar.problems import Problem
from llamacli.grammar.program import END, Program, rule_of

MAX_CHAIN: Final = 4000
"""Our bound on rules that begin with one another: llama.cpp recurses over them."""
MAX_VISITS: Final = 5_000_000
"""Our bound on the steps of llama.cpp's search for left recursion, which visits shared rules again and again."""
MAX_STACKS: Final = 20_000
"""Our bound on the stacks that one place can expand to: llama.cpp compares each with all others at every character."""

_Edges = dict[int, list[int]]
"""For each rule, the positions of the references that can come first in it."""


def undefined_rules(program: Program, rules: tuple[Rule, ...]) -> list[Problem]:
    """References to rules that are not defined, and a missing root."""
    problems = []
    defined = [rule for rule, starts in enumerate(program.alternatives) if starts]
    found: set[AnyNode | None] = set()
    named: set[str] = set()
    for rule in defined:
        for position in positions(program, rule):
            symbol, node = program.code[position], program.origins[position]
            if symbol < END and not program.alternatives[rule_of(symbol)] and node not in found:
                found.add(node)
                named.add(program.names[rule_of(symbol)])
                problems.append(_undefined(program, rule_of(symbol), node))
    # A rule that only a replaced definition refers to keeps its number, and llama.cpp wants every number below the last.
    last = defined[-1] if defined else -1
    for node in (node for rule in rules for node in walk(rule.body)):
        if isinstance(node, RuleReference) and node.name not in named:
            number = program.rule_ids[node.name]
            if number < last and not program.alternatives[number]:
                named.add(node.name)
                problems.append(_undefined(program, number, node))
    return sorted(problems, key=lambda problem: problem.start)


def missing_root(program: Program, root: str, end: int) -> list[Problem]:
    """llama.cpp starts at the rule `root`."""
    if program.root >= 0 and program.alternatives[program.root]:
        return []
    hint = f"the text that the grammar describes is what the rule {root} matches"
    return [Problem("missing-root", f"there is no rule {root}", end, end, hint=hint)]


def left_recursion(program: Program) -> list[Problem]:
    """Rules that come first in themselves: what llama.cpp detects, and what it does not and then never ends."""
    directly_empty = {rule for rule, starts in enumerate(program.alternatives) if any(program.code[s] == END for s in starts)}
    edges = _first_references(program, directly_empty)
    problems = [_recursion(program, edges, cycle, unsafe=False) for cycle in _cycles(program, edges)]
    if problems:
        return problems
    full_edges = _first_references(program, nullable_rules(program))
    for cycle in _cycles(program, full_edges):
        inside = set(cycle)
        pushes = any(
            rule_of(program.code[position]) in inside and program.code[position + 1] != END
            for rule in cycle
            for position in full_edges[rule]
        )
        if pushes and not inside.isdisjoint(_used(program)):
            problems.append(_recursion(program, full_edges, cycle, unsafe=True))
    return problems


def explosions(program: Program) -> list[Problem]:
    """What overflows or takes forever in llama.cpp. Expects a grammar without undefined rules and left recursion."""
    directly_empty = {rule for rule, starts in enumerate(program.alternatives) if any(program.code[s] == END for s in starts)}
    edges = _first_references(program, directly_empty)
    targets = _targets(program, edges)
    depth: dict[int, int] = {}
    visits: dict[int, int] = {}
    for (rule,) in components(targets, range(len(program.alternatives))):
        depth[rule] = 1 + max((depth[target] for target in targets[rule]), default=0)
        visits[rule] = min(1 + sum(visits[target] for target in targets[rule]), MAX_VISITS + 1)
        if depth[rule] > MAX_CHAIN:
            message = f"more than {MAX_CHAIN:,} rules begin with one another"
            return [_at_rule(program, rule, "too-deep", message)]
        if visits[rule] > MAX_VISITS:
            return [_at_rule(program, rule, "too-ambiguous", "so many rules begin with the same rules that llama.cpp never ends")]
    return _too_many_stacks(program)


def _too_many_stacks(program: Program) -> list[Problem]:
    """Bounds the stacks of every place from above: alternatives add up, and so does what follows something empty."""
    nullable = nullable_rules(program)
    edges = _first_references(program, nullable)
    used = _used(program)
    stacks: dict[int, int] = {}
    for cycle in components(_targets(program, edges), sorted(used)):
        inside = set(cycle)
        total = 0
        for rule in cycle:
            for start in program.alternatives[rule]:
                count, most = _stacks_of(program, start, stacks, nullable, inside)
                total += count
                if max(total, most) > MAX_STACKS:
                    message = f"llama.cpp would have to follow more than {MAX_STACKS:,} alternatives at once here"
                    return [_at_rule(program, rule, "too-ambiguous", message)]
        stacks.update(dict.fromkeys(cycle, total))
    return []


def _stacks_of(
    program: Program, start: int, stacks: dict[int, int], nullable: set[int], cycle: set[int]
) -> tuple[int, int]:
    """The stacks that an alternative starts with, and the most that any place in it expands to."""
    code = program.code
    end = start
    while code[end] != END:
        end += 1
    count = most = 1
    for position in range(end - 1, start - 1, -1):
        symbol = code[position]
        if symbol > END:
            count = 1
        else:
            rule = rule_of(symbol)
            # Rules of later components start nothing here: they are counted where they are.
            first = 0 if rule in cycle else stacks.get(rule, 1)
            count = first + count if rule in nullable else first
        most = max(most, count)
    return count, most


def _first_references(program: Program, empty: set[int]) -> _Edges:
    """The references that can come first in each rule, given the rules that count as empty."""
    code = program.code
    edges: _Edges = {}
    for rule, starts in enumerate(program.alternatives):
        found = []
        for position in starts:
            while code[position] < END:
                found.append(position)
                if rule_of(code[position]) not in empty:
                    break
                position += 1
        edges[rule] = found
    return edges


def _targets(program: Program, edges: _Edges) -> _Edges:
    return {rule: [rule_of(program.code[position]) for position in found] for rule, found in edges.items()}


def _used(program: Program) -> set[int]:
    """The rules that the root needs."""
    edges = {rule: references(program, rule) for rule in range(len(program.alternatives))}
    return reachable(edges, [program.root])


def _cycles(program: Program, edges: _Edges) -> Iterator[list[int]]:
    targets = _targets(program, edges)
    for component in components(targets, range(len(program.alternatives))):
        if len(component) > 1 or component[0] in targets[component[0]]:
            yield component


def _recursion(program: Program, edges: _Edges, cycle: list[int], *, unsafe: bool) -> Problem:
    """One problem for a cycle of rules, at the reference that comes first in the source."""
    inside = set(cycle)
    steps = [position for rule in cycle for position in edges[rule] if rule_of(program.code[position]) in inside]
    names = list(dict.fromkeys(program.names[rule] for rule in sorted(cycle)))
    node = min((node for position in steps if (node := program.origins[position])), key=lambda node: node.start)
    if len(names) == 1:
        message = f"left recursion: {names[0]} can begin with itself"
    else:
        message = f"left recursion: {', '.join(names[:8])} can begin with one another"
    hint = "make something that is not empty come before it, or write it as a repetition: x ::= y (op y)*"
    return Problem("left-recursion", message, node.start, node.end, hint=hint, unsafe=unsafe)


def _undefined(program: Program, rule: int, node: AnyNode | None) -> Problem:
    start, end = (node.start, node.end) if node else (0, 0)
    return Problem("undefined-rule", f"the rule {program.names[rule]} is not defined", start, end)


def _at_rule(program: Program, rule: int, kind: str, message: str) -> Problem:
    node = next((node for position in positions(program, rule) if (node := program.origins[position])), None)
    start, end = (node.start, node.end) if node else (0, 0)
    return Problem(kind, f"{message} (rule {program.names[rule]})", start, end, unsafe=True)
