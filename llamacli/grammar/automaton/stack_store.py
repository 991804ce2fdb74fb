"""Store of sets of stacks as trees in which equal subtrees are one object."""

from __future__ import annotations

from typing import Final

MAX_NODES: Final = 150_000
"""Number of cached sets from which the cache is cleared, to bound memory."""
WORK: Final = 1_500_000
"""Number of entries of sets that may be built for a text, plus `WORK_PER_CHARACTER` per character."""
WORK_PER_CHARACTER: Final = 10
MAX_DEPTH: Final = 100_000
"""Our limit of nesting in a text: llama.cpp copies all its stacks at every character."""
NO_TRANSITIONS: Final[dict[str, Stacks]] = {}


Entries = tuple[tuple[int, "Stacks"], ...]


class GrowthError(Exception):
    """The number or the depth of the stacks exceeds its limit."""


class Stacks:
    """A set of stacks. `entries`: for each position on top of a stack, the set below it, sorted by position.

    `complete`: the empty stack is in the set, and the text may end. In a relative set, which is placed on another set, the
    empty stack is where that other set begins. `next` caches transitions, `accepts` whether the text may end.
    """

    __slots__ = ("accepts", "complete", "depth", "entries", "next")

    def __init__(self, entries: Entries, complete: bool) -> None:
        self.entries = entries
        self.complete = complete
        self.depth: int = 1 + max([under.depth for _, under in entries]) if entries else 0
        self.next = NO_TRANSITIONS
        self.accepts: bool | None = None


class StackStore:
    """Factory of sets of stacks. `dead` is the empty set, `bottom` the set of the empty stack alone.

    `work` is the number of entries that may still be written. Methods raise `GrowthError` if it runs out, or if stacks grow
    too deep.
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
        """Return the relative set placed on `base`."""
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
        """Return the positions of a relative set that is a single stack, lowest first; else an empty tuple."""
        chain = []
        while relative is not self.bottom:
            if len(relative.entries) != 1 or relative.complete:
                return ()
            ((position, relative),) = relative.entries
            chain.append(position)
        return tuple(reversed(chain))

    def union(self, parts: list[Stacks]) -> Stacks:
        """Return the union of the parts."""
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
        """Return the union of sets below others, cached and without recursion."""
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
        """Return the unique set with these entries."""
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
        """Clear the cache if it is full, and return whether it was. The caller's sets stay valid, but lose their identity."""
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
    """Return the number of stacks in a set."""
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
