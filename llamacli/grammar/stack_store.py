"""Sets of stacks as trees in which equal subtrees are one object: building, joining and standing one on another."""

from __future__ import annotations

from typing import Final

MAX_NODES: Final = 150_000
"""How many sets are remembered before all that is remembered is dropped, which bounds memory and costs only time."""
WORK: Final = 1_500_000
"""Entries of sets that may be built for any text; `WORK_PER_CHARACTER` more for every character of it."""
WORK_PER_CHARACTER: Final = 10
MAX_DEPTH: Final = 100_000
"""Our bound on nesting in a text: llama.cpp copies all its stacks at every character."""
NO_TRANSITIONS: Final[dict[str, Stacks]] = {}


Entries = tuple[tuple[int, "Stacks"], ...]


class GrowthError(Exception):
    """The stacks grow beyond any bearable size: too many of them, or too deep ones."""


class Stacks:
    """A set of stacks. `entries`: for each position that is on top of one, what lies below it, sorted by position.

    `complete` tells whether the empty stack is among them: the text may end. In a relative set, one that stands on something
    else, the empty stack is where that begins. `next` remembers transitions, and `accepts` whether the text may end.
    """

    __slots__ = ("accepts", "complete", "depth", "entries", "next")

    def __init__(self, entries: Entries, complete: bool) -> None:
        self.entries = entries
        self.complete = complete
        self.depth: int = 1 + max([under.depth for _, under in entries]) if entries else 0
        self.next = NO_TRANSITIONS
        self.accepts: bool | None = None


class StackStore:
    """Makes sets of stacks. `dead` is the set without any stack, `bottom` that of the empty stack alone.

    `work` is how many entries may still be written; where it runs out, or where stacks grow too deep, `GrowthError` is raised.
    """

    def __init__(self) -> None:
        self.dead = Stacks((), False)
        self.bottom = Stacks((), True)
        self.work = WORK
        self._nodes: dict[Entries, Stacks] = {}
        self._complete_nodes: dict[Entries, Stacks] = {}
        self._unions: dict[tuple[Stacks, Stacks], Stacks] = {}
        self._chains: dict[Stacks, tuple[int, ...]] = {}

    def on(self, relative: Stacks, base: Stacks) -> Stacks:
        """The relative set standing on `base`."""
        if relative is self.bottom:
            return base
        if base is self.bottom:
            return relative
        chain = self._chains.get(relative)
        if chain is None:
            chain = self._chains[relative] = self._chain(relative)
        if chain:
            for position in chain:
                base = self.node(((position, base),), False)
            return base
        done = {self.bottom: base}
        todo = [relative]
        while todo:
            node = todo[-1]
            missing = [under for _, under in node.entries if under not in done]
            if missing:
                todo.extend(missing)
                continue
            placed = self.node(tuple([(position, done[under]) for position, under in node.entries]), False)
            done[node] = self.union([placed, base]) if node.complete else placed
            todo.pop()
        return done[relative]

    def _chain(self, relative: Stacks) -> tuple[int, ...]:
        """The positions of a relative set that is a single stack, lowest first: the common case. Else nothing."""
        chain = []
        while relative is not self.bottom:
            if len(relative.entries) != 1 or relative.complete:
                return ()
            ((position, relative),) = relative.entries
            chain.append(position)
        return tuple(reversed(chain))

    def union(self, parts: list[Stacks]) -> Stacks:
        """All stacks of all parts, in one set."""
        if len(parts) > 1:
            parts = list(dict.fromkeys(parts))
        if len(parts) < 2:
            return parts[0] if parts else self.dead
        below: dict[int, list[Stacks]] = {}
        for part in parts:
            self._spend(len(part.entries))
            for position, under in part.entries:
                below.setdefault(position, []).append(under)
        entries = [(position, self._join(unders)) for position, unders in sorted(below.items())]
        return self.node(tuple(entries), any(part.complete for part in parts))

    def _join(self, parts: list[Stacks]) -> Stacks:
        """The same for sets below others, remembered, and without recursion."""
        result = parts[0]
        for part in parts[1:]:
            result = self._join_two(result, part)
        return result

    def _join_two(self, first: Stacks, second: Stacks) -> Stacks:
        if first is second:
            return first
        todo = [(first, second)]
        while todo:
            left, right = todo[-1]
            if (left, right) not in self._unions:
                self._spend(len(left.entries) + len(right.entries))
                merged = dict(left.entries)
                missing = []
                for position, under in right.entries:
                    known = merged.get(position, under)
                    if known is under:
                        merged[position] = under
                    elif (known, under) in self._unions:
                        merged[position] = self._unions[known, under]
                    else:
                        missing.append((known, under))
                if missing:
                    todo.extend(missing)
                    continue
                union = self.node(tuple(sorted(merged.items())), left.complete or right.complete)
                self._unions[left, right] = self._unions[right, left] = union
            todo.pop()
        return self._unions[first, second]

    def node(self, entries: Entries, complete: bool) -> Stacks:
        """The one set with these entries."""
        if not entries:
            return self.bottom if complete else self.dead
        nodes = self._complete_nodes if complete else self._nodes
        node = nodes.get(entries)
        if node is None:
            self._spend(len(entries))
            node = nodes[entries] = Stacks(entries, complete)
            if node.depth > MAX_DEPTH:
                raise GrowthError(f"nests more than {MAX_DEPTH:,} deep")
        return node

    def _spend(self, work: int) -> None:
        self.work -= work
        if self.work < 0:
            raise GrowthError("can be read in too many ways")

    def forget_if_full(self) -> bool:
        """Drops all that is remembered when it is much. Sets that a caller holds stay valid; equal ones are made anew."""
        if len(self._nodes) + len(self._complete_nodes) <= MAX_NODES:
            return False
        for nodes in (self._nodes, self._complete_nodes):
            for node in nodes.values():
                node.next = NO_TRANSITIONS
            nodes.clear()
        self._unions.clear()
        self._chains.clear()
        return True


def count_stacks(stacks: Stacks) -> int:
    """The number of stacks in a set."""
    known: dict[Stacks, int] = {}
    todo = [stacks]
    while todo:
        node = todo[-1]
        missing = [under for _, under in node.entries if under not in known]
        if missing:
            todo.extend(missing)
            continue
        known[node] = node.complete + sum(known[under] for _, under in node.entries)
        todo.pop()
    return known[stacks]
