"""Sets of parser stacks, and how a character changes them: the machine under the matcher.

llama.cpp follows a text with a list of stacks, which an ambiguous grammar doubles at every character. Here a set of stacks is
a tree read from the top, in which equal subtrees are one object: every operation is remembered by the identity of its
operands, a set that comes back is the same set, and its transitions become a dictionary look-up. It is the derivative of
Brzozowski (1964) taken for context-free grammars, on a graph-structured stack (Tomita 1985) that is kept minimal.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from llamacli.grammar.graph import references
from llamacli.grammar.program import END, Program, rule_of

MAX_NODES: Final = 150_000
"""How many sets are remembered before all that is remembered is dropped, which bounds memory and costs only time."""
WORK: Final = 1_500_000
"""Entries of sets that may be built for any text; `WORK_PER_CHARACTER` more for every character of it."""
WORK_PER_CHARACTER: Final = 10
MAX_DEPTH: Final = 100_000
"""Our bound on nesting in a text: llama.cpp copies all its stacks at every character."""
_NO_TRANSITIONS: Final[dict[str, Stacks]] = {}


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
        self.next = _NO_TRANSITIONS
        self.accepts: bool | None = None


class StackSets:
    """All sets of stacks of one program. `dead` is the set without any stack."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._nullable = references(program).nullable
        self.dead = Stacks((), False)
        self._bottom = Stacks((), True)
        self._nodes: dict[Entries, Stacks] = {}
        self._complete_nodes: dict[Entries, Stacks] = {}
        self._unions: dict[tuple[Stacks, Stacks], Stacks] = {}
        self._chains: dict[Stacks, tuple[int, ...]] = {}
        self._openings: dict[int, Stacks] = {}
        self._rule_openings: dict[int, Stacks] = {}
        self._derivatives: dict[tuple[int, int], tuple[Stacks, bool]] = {}
        # Characters between two bounds are alike. NUL is on its own: no text that llama.cpp sees can hold it.
        self._bounds = sorted({1, *(bound for t in program.terminals for low, high in t.ranges for bound in (low, high + 1))})
        self.work = WORK

    @property
    def start(self) -> Stacks:
        """The set before the first character."""
        return self._rule_opening(self._program.root)

    def step(self, stacks: Stacks, char: str) -> Stacks:
        """The set after one more character: `dead` where no stack takes it. Raises `GrowthError`."""
        kind = bisect_right(self._bounds, ord(char))
        todo = [stacks]
        while todo:
            node = todo[-1]
            if char in node.next:
                todo.pop()
                continue
            parts = []
            missing = []
            for position, under in node.entries:
                derivative, may_pop = self._derivative(position, kind, char)
                if derivative is not self.dead:
                    parts.append(self._on(derivative, under))
                if may_pop:
                    popped = under.next.get(char)
                    if popped is None:
                        missing.append(under)
                    elif popped is not self.dead:
                        parts.append(popped)
            if missing:
                todo.extend(missing)
                continue
            if node.next is _NO_TRANSITIONS:
                node.next = {}
            node.next[char] = self._union_of(parts)
            todo.pop()
        result = stacks.next[char]
        if len(self._nodes) + len(self._complete_nodes) > MAX_NODES:
            self._forget()
        return result

    def accepts(self, stacks: Stacks) -> bool:
        """Whether the text may end here."""
        todo = [stacks]
        while todo:
            node = todo[-1]
            if node.accepts is None:
                below = [under for position, under in node.entries if self.opening(position).complete]
                missing = [] if node.complete else [under for under in below if under.accepts is None]
                if missing:
                    todo.extend(missing)
                    continue
                node.accepts = node.complete or any(under.accepts for under in below)
            todo.pop()
        return bool(stacks.accepts)

    def terminals(self, stacks: Stacks) -> list[int]:
        """The positions of the terminals of which one comes next."""
        found: dict[int, None] = {}
        seen = {stacks}
        todo = [stacks]
        while todo:
            for position, under in todo.pop().entries:
                opening = self.opening(position)
                found.update(dict.fromkeys(entry for entry, _ in opening.entries))
                if opening.complete and under not in seen:
                    seen.add(under)
                    todo.append(under)
        return sorted(found)

    def count(self, stacks: Stacks) -> int:
        """How many different stacks llama.cpp holds at this place: each with a terminal on top, or empty."""
        seen = {stacks}
        todo = [stacks]
        closed = self._bottom if stacks.complete else self.dead
        while todo:
            for position, under in todo.pop().entries:
                opening = self.opening(position)
                closed = self._union_of([closed, self._on(self._node(opening.entries, False), under)])
                if opening.complete and under not in seen:
                    seen.add(under)
                    todo.append(under)
                    closed = self._union_of([closed, self._bottom]) if under.complete else closed
        return _paths(closed)

    def opening(self, position: int) -> Stacks:
        """What the rest of an alternative from `position` on can begin with: a relative set with terminals on top.

        It is complete where that rest can be empty.
        """
        opening = self._openings.get(position)
        if opening is None:
            opening = self._openings[position] = self._open([position])
        return opening

    def _rule_opening(self, rule: int) -> Stacks:
        opening = self._rule_openings.get(rule)
        if opening is None:
            opening = self._rule_openings[rule] = self._open(self._program.alternatives[rule])
        return opening

    def _open(self, starts: Iterable[int]) -> Stacks:
        """Builds an opening; the openings of the rules it stands on are built first, without recursion."""
        todo: list[tuple[int, Iterable[int]]] = [(-1, starts)]
        while True:
            rule, begin = todo[-1]
            terminals, calls, complete = self._reach(begin)
            missing = [called for called, _ in calls if called not in self._rule_openings]
            if missing:
                todo.extend((called, self._program.alternatives[called]) for called in missing)
                continue
            parts = [self._node(tuple((position, self._bottom) for position in sorted(terminals)), complete)]
            for called, after in calls:
                rest = self._node(((after, self._bottom),), False)
                parts.append(self._on(self._node(self._rule_openings[called].entries, False), rest))
            opening = self._union_of(parts)
            todo.pop()
            if not todo:
                return opening
            self._rule_openings[rule] = opening

    def _reach(self, starts: Iterable[int]) -> tuple[list[int], list[tuple[int, int]], bool]:
        """Follows references that are last in their alternatives, as these push nothing, and steps over empty ones.

        Returns the terminals' positions, the (rule, position after it) pairs that push, and whether the end is reached.
        """
        code = self._program.code
        terminals, calls, complete = [], [], False
        seen = set(starts)
        todo = list(seen)
        while todo:
            position = todo.pop()
            symbol = code[position]
            if symbol == END:
                complete = True
            elif symbol > END:
                terminals.append(position)
            else:
                rule = rule_of(symbol)
                last = code[position + 1] == END
                more = list(self._program.alternatives[rule]) if last else []
                if not last:
                    calls.append((rule, position + 1))
                    more = [position + 1] if rule in self._nullable else []
                todo.extend(start for start in more if start not in seen)
                seen.update(more)
        return terminals, calls, complete

    def _derivative(self, position: int, kind: int, char: str) -> tuple[Stacks, bool]:
        """What the rest of an alternative becomes when it takes `char`, which is of the class `kind`: a relative set.

        Also tells whether that rest can be empty, so that what lies below may take the character.
        """
        key = (position, kind)
        known = self._derivatives.get(key)
        if known is None:
            program, code = self._program, ord(char)
            entries: list[tuple[int, Stacks]] = []
            parts = []
            opening = self.opening(position)
            for terminal, under in opening.entries:
                if code and program.terminals[program.code[terminal]].matches(code):
                    if program.code[terminal + 1] == END:
                        parts.append(under)
                    else:
                        entries.append((terminal + 1, under))
            parts.append(self._node(tuple(entries), False))
            known = self._derivatives[key] = self._union_of(parts), opening.complete
        return known

    def _on(self, relative: Stacks, base: Stacks) -> Stacks:
        """The relative set standing on `base`."""
        if relative is self._bottom:
            return base
        if base is self._bottom:
            return relative
        chain = self._chains.get(relative)
        if chain is None:
            chain = self._chains[relative] = self._chain(relative)
        if chain:
            for position in chain:
                base = self._node(((position, base),), False)
            return base
        done = {self._bottom: base}
        todo = [relative]
        while todo:
            node = todo[-1]
            missing = [under for _, under in node.entries if under not in done]
            if missing:
                todo.extend(missing)
                continue
            placed = self._node(tuple([(position, done[under]) for position, under in node.entries]), False)
            done[node] = self._union_of([placed, base]) if node.complete else placed
            todo.pop()
        return done[relative]

    def _chain(self, relative: Stacks) -> tuple[int, ...]:
        """The positions of a relative set that is a single stack, lowest first: the common case. Else nothing."""
        chain = []
        while relative is not self._bottom:
            if len(relative.entries) != 1 or relative.complete:
                return ()
            ((position, relative),) = relative.entries
            chain.append(position)
        return tuple(reversed(chain))

    def _union_of(self, parts: list[Stacks]) -> Stacks:
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
        entries = [(position, self._union(unders)) for position, unders in sorted(below.items())]
        return self._node(tuple(entries), any(part.complete for part in parts))

    def _union(self, parts: list[Stacks]) -> Stacks:
        """The same for sets below others, remembered, and without recursion."""
        result = parts[0]
        for part in parts[1:]:
            result = self._union_of_two(result, part)
        return result

    def _union_of_two(self, first: Stacks, second: Stacks) -> Stacks:
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
                union = self._node(tuple(sorted(merged.items())), left.complete or right.complete)
                self._unions[left, right] = self._unions[right, left] = union
            todo.pop()
        return self._unions[first, second]

    def _node(self, entries: Entries, complete: bool) -> Stacks:
        """The one set with these entries."""
        if not entries:
            return self._bottom if complete else self.dead
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

    def _forget(self) -> None:
        for nodes in (self._nodes, self._complete_nodes):
            for node in nodes.values():
                node.next = _NO_TRANSITIONS
            nodes.clear()
        self._unions.clear()
        self._chains.clear()
        self._derivatives.clear()


def _paths(stacks: Stacks) -> int:
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
