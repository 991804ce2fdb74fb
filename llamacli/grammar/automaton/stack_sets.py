"""Sets of parser stacks, and their transitions.

llama.cpp follows a text with a list of stacks, which an ambiguous grammar doubles at every character. Here a set of stacks is a
tree from the top down in which equal subtrees are one object. Operations are cached by the identity of their operands, and
transitions become dictionary look-ups. This is Brzozowski's derivative (1964) for context-free grammars, on a minimal
graph-structured stack (Tomita 1985).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from llamacli.grammar.automaton.stack_store import NO_TRANSITIONS, WORK, WORK_PER_CHARACTER, Stacks, StackStore, count_stacks
from llamacli.grammar.program.code import END, Program, rule_of
from llamacli.grammar.program.graph import references


class StackSets:
    """The sets of stacks of one program. `dead` is the empty set."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._nullable = references(program).nullable
        self._store = StackStore()
        self.dead = self._store.dead
        self._openings: dict[int, Stacks] = {}
        self._rule_openings: dict[int, Stacks] = {}
        self._derivatives: dict[tuple[int, int], tuple[Stacks, bool]] = {}
        # Characters between two bounds are equivalent. NUL has its own class: texts in llama.cpp cannot contain it.
        self._bounds = sorted({1, *(bound for t in program.terminals for low, high in t.ranges for bound in (low, high + 1))})

    def begin(self, length: int) -> None:
        """Reset the work limit for a text of this length."""
        self._store.work = WORK + WORK_PER_CHARACTER * length

    @property
    def start(self) -> Stacks:
        """The set before the first character."""
        return self._rule_opening(self._program.root)

    def step(self, stacks: Stacks, char: str) -> Stacks:
        """Return the set after one more character: `dead` if no stack accepts it.

        Raises:
            GrowthError: if the work limit is exceeded.
        """
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
                    parts.append(self._store.on(derivative, under))
                if may_pop:
                    popped = under.next.get(char)
                    if popped is None:
                        missing.append(under)
                    elif popped is not self.dead:
                        parts.append(popped)
            if missing:
                todo.extend(missing)
                continue
            if node.next is NO_TRANSITIONS:
                node.next = {}
            node.next[char] = self._store.union(parts)
            todo.pop()
        result = stacks.next[char]
        if self._store.forget_if_full():
            self._derivatives.clear()
        return result

    def accepts(self, stacks: Stacks) -> bool:
        """Return whether the text may end here."""
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
        """Return the positions of the terminals that may come next."""
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
        """Return the number of different stacks in llama.cpp at this point: each with a terminal on top, or empty."""
        seen = {stacks}
        todo = [stacks]
        closed = self._store.bottom if stacks.complete else self.dead
        while todo:
            for position, under in todo.pop().entries:
                opening = self.opening(position)
                closed = self._store.union([closed, self._store.on(self._store.node(opening.entries, False), under)])
                if opening.complete and under not in seen:
                    seen.add(under)
                    todo.append(under)
                    closed = self._store.union([closed, self._store.bottom]) if under.complete else closed
        return count_stacks(closed)

    def opening(self, position: int) -> Stacks:
        """Return the relative set, with terminals on top, of an alternative's rest from `position` on.

        It is complete if the rest can be empty.
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
        """Build an opening, after those of the rules it refers to, without recursion."""
        todo: list[tuple[int, Iterable[int]]] = [(-1, starts)]
        while True:
            rule, begin = todo[-1]
            terminals, calls, complete = self._reach(begin)
            missing = [called for called, _ in calls if called not in self._rule_openings]
            if missing:
                todo.extend((called, self._program.alternatives[called]) for called in missing)
                continue
            parts = [self._store.node(tuple((position, self._store.bottom) for position in sorted(terminals)), complete)]
            for called, after in calls:
                rest = self._store.node(((after, self._store.bottom),), False)
                parts.append(self._store.on(self._store.node(self._rule_openings[called].entries, False), rest))
            opening = self._store.union(parts)
            todo.pop()
            if not todo:
                return opening
            self._rule_openings[rule] = opening

    def _reach(self, starts: Iterable[int]) -> tuple[list[int], list[tuple[int, int]], bool]:
        """Follow references that are last in their alternatives, because these push nothing, and skip nullable ones.

        Return the terminals' positions, the (rule, position after it) pairs that push, and whether the end is reached.
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
        """Return the relative set of an alternative's rest after `char`, which is of the class `kind`.

        Also return whether the rest can be empty, in which case the set below may accept the character.
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
            parts.append(self._store.node(tuple(entries), False))
            known = self._derivatives[key] = self._store.union(parts), opening.complete
        return known
