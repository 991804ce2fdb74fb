"""Graph walks over a program's rules, without recursion: which rule reaches which, which can be empty, which are cycles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from llamacli.grammar.program import END, Program, rule_of

Edges = Mapping[int, Sequence[int]]


def positions(program: Program, rule: int) -> Iterator[int]:
    """The positions of all symbols of a rule, `END` left out."""
    code = program.code
    for position in program.alternatives[rule]:
        while code[position] != END:
            yield position
            position += 1


def references(program: Program, rule: int) -> list[int]:
    """The rules that a rule refers to, one entry for each place."""
    code = program.code
    return [rule_of(code[position]) for position in positions(program, rule) if code[position] < END]


def reachable(edges: Edges, start: Iterable[int]) -> set[int]:
    """The nodes that can be reached from `start`, those included."""
    seen = set(start)
    pending = list(seen)
    while pending:
        for target in edges.get(pending.pop(), ()):
            if target not in seen:
                seen.add(target)
                pending.append(target)
    return seen


def nullable_rules(program: Program) -> set[int]:
    """The rules that match the empty text."""
    code = program.code
    missing: list[int] = []
    heads: list[int] = []
    users: dict[int, list[int]] = {}
    empty: list[int] = []
    for rule, starts in enumerate(program.alternatives):
        for start in starts:
            end = start
            while code[end] < END:
                end += 1
            if code[end] != END:
                continue
            for position in range(start, end):
                users.setdefault(rule_of(code[position]), []).append(len(heads))
            heads.append(rule)
            missing.append(end - start)
            if end == start:
                empty.append(rule)
    found = set(empty)
    while empty:
        for alternative in users.get(empty.pop(), ()):
            missing[alternative] -= 1
            if not missing[alternative] and heads[alternative] not in found:
                found.add(heads[alternative])
                empty.append(heads[alternative])
    return found


def components(edges: Edges, nodes: Iterable[int]) -> list[list[int]]:
    """The strongly connected components, targets before sources (Tarjan 1972, with an explicit stack)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    open_nodes: list[int] = []
    is_open: set[int] = set()
    found: list[list[int]] = []
    for start in nodes:
        if start in order:
            continue
        work: list[tuple[int, Iterator[int]]] = []
        _enter(start, order, low, open_nodes, is_open, work, edges)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in order:
                    _enter(target, order, low, open_nodes, is_open, work, edges)
                    break
                if target in is_open:
                    low[node] = min(low[node], order[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    cut = _last_index(open_nodes, node)
                    found.append(open_nodes[cut:])
                    is_open.difference_update(open_nodes[cut:])
                    del open_nodes[cut:]
    return found


def _last_index(items: list[int], item: int) -> int:
    index = len(items) - 1
    while items[index] != item:
        index -= 1
    return index


def _enter(
    node: int,
    order: dict[int, int],
    low: dict[int, int],
    open_nodes: list[int],
    is_open: set[int],
    work: list[tuple[int, Iterator[int]]],
    edges: Edges,
) -> None:
    order[node] = low[node] = len(order)
    open_nodes.append(node)
    is_open.add(node)
    work.append((node, iter(edges.get(node, ()))))
