"""Reference graph of a program: reachable rules, empty rules, leading references. Without recursion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from llamacli.grammar.program.code import END, Program, rule_of

Edges = Mapping[int, Sequence[int]]
"""Targets of each node, one per reference; a node without targets may be absent."""


@dataclass(frozen=True, slots=True)
class References:
    """The references of a program. `positions[rule]` are those in a rule, if it has any.

    `directly_empty` are rules with an alternative without symbols, the only ones that llama.cpp's search for left recursion
    takes for empty; `nullable` are those that match the empty string.
    """

    program: Program
    positions: dict[int, list[int]]
    directly_empty: frozenset[int]
    nullable: frozenset[int]

    def first(self, empty: frozenset[int]) -> dict[int, list[int]]:
        """Return the positions of references that can come first in each rule, if the rules in `empty` count as empty."""
        code = self.program.code
        found = {}
        for rule in self.positions:
            leading = []
            for start in self.program.alternatives[rule]:
                position = start
                while code[position] < END:
                    leading.append(position)
                    if rule_of(code[position]) not in empty:
                        break
                    position += 1
            if leading:
                found[rule] = leading
        return found

    def targets(self, leading: Mapping[int, list[int]]) -> dict[int, list[int]]:
        """Return the rules that the references at these positions refer to."""
        code = self.program.code
        return {rule: [rule_of(code[position]) for position in positions] for rule, positions in leading.items()}

    def used(self) -> set[int]:
        """Return the rules reachable from the root, itself included."""
        return reachable(self.targets(self.positions), [self.program.root])


def references(program: Program) -> References:
    """Return the references of a program."""
    code = program.code
    positions: dict[int, list[int]] = {}
    empty = set()
    for rule, starts in enumerate(program.alternatives):
        found = []
        for start in starts:
            position = start
            while (symbol := code[position]) != END:
                if symbol < END:
                    found.append(position)
                position += 1
            if position == start:
                empty.add(rule)
        if found:
            positions[rule] = found
    return References(program, positions, frozenset(empty), frozenset(_nullable(program, positions, empty)))


def reachable(edges: Edges, start: Iterable[int]) -> set[int]:
    """Return the nodes reachable from `start`, those included."""
    seen = set(start)
    pending = list(seen)
    while pending:
        for target in edges.get(pending.pop(), ()):
            if target not in seen:
                seen.add(target)
                pending.append(target)
    return seen


def _nullable(program: Program, positions: Mapping[int, list[int]], empty: set[int]) -> set[int]:
    """Return the closure of `empty` over alternatives that consist of references only."""
    code = program.code
    missing: list[int] = []
    heads: list[int] = []
    users: dict[int, list[int]] = {}
    for rule in positions:
        for start in program.alternatives[rule]:
            end = start
            while code[end] < END:
                end += 1
            if code[end] != END or end == start:
                continue
            for position in range(start, end):
                users.setdefault(rule_of(code[position]), []).append(len(heads))
            heads.append(rule)
            missing.append(end - start)
    found = set(empty)
    pending = list(empty)
    while pending:
        for alternative in users.get(pending.pop(), ()):
            missing[alternative] -= 1
            if not missing[alternative] and heads[alternative] not in found:
                found.add(heads[alternative])
                pending.append(heads[alternative])
    return found


def components(edges: Edges) -> list[list[int]]:
    """Return the strongly connected components of the nodes that have targets, targets first (Tarjan 1972, iterative)."""
    search = _Components(edges)
    for node in edges:
        if node not in search.order:
            search.run(node)
    return search.found


class _Components:
    def __init__(self, edges: Edges) -> None:
        self.order: dict[int, int] = {}
        self.found: list[list[int]] = []
        self._edges = edges
        self._low: dict[int, int] = {}
        self._open: list[int] = []
        self._is_open: set[int] = set()
        self._work: list[tuple[int, Iterator[int]]] = []

    def run(self, start: int) -> None:
        """Find all components reachable from `start`."""
        low, order, work = self._low, self.order, self._work
        self._enter(start)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target in self._is_open:
                    low[node] = min(low[node], order[target])
                elif target not in order and target in self._edges:
                    self._enter(target)
                    break
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[node])
                if low[node] == order[node]:
                    self._close(node)

    def _enter(self, node: int) -> None:
        self.order[node] = self._low[node] = len(self.order)
        self._open.append(node)
        self._is_open.add(node)
        self._work.append((node, iter(self._edges[node])))

    def _close(self, node: int) -> None:
        component: list[int] = []
        while not component or component[-1] != node:
            component.append(self._open.pop())
        self._is_open.difference_update(component)
        self.found.append(component)
