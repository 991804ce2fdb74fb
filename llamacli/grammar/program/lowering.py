"""Lowering of grammars to programs, step by step as llama.cpp's parser does it."""

from __future__ import annotations

from dataclasses import dataclass, field

from llamacli.grammar.program.code import END, MAX_REPETITION, Program, Terminal, symbol_of
from llamacli.grammar.syntax.nodes import AnyNode

MAX_ELEMENTS = 500_000
"""Our limit of `Program.code`: llama.cpp has none, and exhausts memory on `"a long text"{0,2000}`."""
MAX_RULES = 100_000
"""Our limit of lowered rules, groups and repetitions included."""


class LimitError(Exception):
    """A repetition that llama.cpp refuses, or if `unsafe` does not survive."""

    def __init__(self, kind: str, message: str, *, unsafe: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.unsafe = unsafe


@dataclass(slots=True)
class _Frame:
    """A rule under construction. `last` is where the item starts that a repetition would apply to."""

    rule: int
    symbols_before: int
    code: list[int] = field(default_factory=list)
    origins: list[AnyNode | None] = field(default_factory=list)
    last: int = 0
    weight: int = 1


class Lowering:
    """Builder of a program from the parser's items, in their order.

    The order matters: llama.cpp numbers symbols as they appear, and its limit of repetitions counts those numbers.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._names: list[str] = []
        self._generated: list[bool] = []
        self._alternatives: list[tuple[int, ...]] = []
        self._code: list[int] = []
        self._origins: list[AnyNode | None] = []
        self._terminals: dict[Terminal, int] = {}
        self._characters: dict[int, int] = {}
        self._frames: list[_Frame] = []
        self._elements = 0

    @property
    def nested(self) -> int:
        """The number of open groups."""
        return len(self._frames) - 1

    @property
    def repeatable(self) -> bool:
        """True if a repetition can apply to the last item. It cannot to an empty literal."""
        frame = self._frames[-1]
        return frame.last < len(frame.code)

    def begin_rule(self, name: str) -> None:
        """Start a rule. A second definition replaces the first, except for the rules generated from its groups."""
        self._frames = [_Frame(self._named(name), 0)]

    def end_rule(self) -> None:
        """Finish the rule."""
        self._close(self._frames.pop())

    def literal(self, codes: tuple[int, ...], node: AnyNode) -> None:
        """Add a literal: one terminal per code point."""
        frame = self._start_item()
        for code in codes:
            index = self._characters.get(code)
            if index is None:
                index = self._characters[code] = self._terminal(Terminal(((code, code),)))
            frame.code.append(index)
        frame.origins.extend([node] * len(codes))
        self._count(len(codes))

    def terminal(self, terminal: Terminal, node: AnyNode) -> None:
        """Add a class, `.` or a token."""
        frame = self._start_item()
        frame.code.append(self._terminal(terminal))
        frame.origins.append(node)
        self._count(1)

    def nothing(self) -> None:
        """Add a class without characters."""
        self._start_item()

    def reference(self, name: str, node: AnyNode) -> None:
        """Add a rule reference."""
        rule = self._named(name)
        frame = self._start_item()
        frame.code.append(symbol_of(rule))
        frame.origins.append(node)
        self._count(1)

    def alternative(self) -> None:
        """Start the next alternative."""
        frame = self._frames[-1]
        frame.code.append(END)
        frame.origins.append(None)
        frame.last = len(frame.code)
        frame.weight = 1
        self._count(1)

    def open_group(self) -> None:
        """Open a group."""
        before = len(self._names)
        self._frames.append(_Frame(self._new(), before))

    def close_group(self, node: AnyNode) -> None:
        """Close a group; `node` is the whole group."""
        group = self._frames.pop()
        self._close(group)
        frame = self._start_item()
        frame.weight = max(1, len(self._names) - group.symbols_before)
        frame.code.append(symbol_of(group.rule))
        frame.origins.append(node)
        self._count(1)

    def repeat(self, minimum: int, maximum: int | None, node: AnyNode) -> None:
        """Repeat the last item.

        Raises:
            LimitError: if llama.cpp would refuse the repetition or not survive it.
        """
        frame = self._frames[-1]
        code, origins = frame.code[frame.last :], frame.origins[frame.last :]
        times = maximum or minimum or 1
        self._check_repetition(frame.weight * times, minimum, maximum, len(code))
        if minimum == 0:
            del frame.code[frame.last :], frame.origins[frame.last :]
        else:
            frame.code.extend(code * (minimum - 1))
            frame.origins.extend(origins * (minimum - 1))
        rule: int | None = None
        for _ in range(1 if maximum is None else maximum - minimum):
            previous, rule = rule, self._new()
            follower = rule if maximum is None else previous
            tail = [] if follower is None else [symbol_of(follower)]
            self._define(rule, [*code, *tail, END, END], [*origins, *([node] * len(tail)), None, None])
        if rule is not None:
            frame.code.append(symbol_of(rule))
            frame.origins.append(node)
        frame.weight *= times

    def finish(self, root: str) -> Program:
        """Return the program of all rules so far. Its root is -1 if `root` is unknown."""
        return Program(
            self._names,
            self._generated,
            self._alternatives,
            self._code,
            self._origins,
            list(self._terminals),
            self._ids,
            self._ids.get(root, -1),
        )

    def _check_repetition(self, product: int, minimum: int, maximum: int | None, length: int) -> None:
        if maximum is not None and maximum < minimum:
            message = f"the upper bound of the repetition {{{minimum},{maximum}}} is less than the lower bound"
            raise LimitError("bad-repetition", message, unsafe=True)
        if product > MAX_REPETITION:
            message = f"nested repetitions multiply to {product:,}, more than {MAX_REPETITION:,}"
            raise LimitError("too-many-repetitions", message)
        optional = 1 if maximum is None else maximum - minimum
        self._count(max(0, minimum - 1) * length + optional * (length + 3))

    def _count(self, more: int) -> None:
        self._elements += more
        if self._elements > MAX_ELEMENTS:
            raise LimitError("too-large", f"the grammar expands to more than {MAX_ELEMENTS:,} elements", unsafe=True)

    def _start_item(self) -> _Frame:
        frame = self._frames[-1]
        frame.last = len(frame.code)
        frame.weight = 1
        return frame

    def _close(self, frame: _Frame) -> None:
        frame.code.append(END)
        frame.origins.append(None)
        self._define(frame.rule, frame.code, frame.origins)

    def _define(self, rule: int, code: list[int], origins: list[AnyNode | None]) -> None:
        base = len(self._code)
        starts = [base]
        position = code.index(END)
        while position + 1 < len(code):
            starts.append(base + position + 1)
            position = code.index(END, position + 1)
        self._alternatives[rule] = tuple(starts)
        self._code.extend(code)
        self._origins.extend(origins)

    def _terminal(self, terminal: Terminal) -> int:
        return self._terminals.setdefault(terminal, len(self._terminals))

    def _named(self, name: str) -> int:
        rule = self._ids.get(name)
        if rule is None:
            rule = self._ids[name] = self._add(name, generated=False)
        return rule

    def _new(self) -> int:
        # The outermost open rule is the one in the source that groups and repetitions belong to.
        return self._add(self._names[self._frames[0].rule], generated=True)

    def _add(self, name: str, *, generated: bool) -> int:
        if len(self._names) >= MAX_RULES:
            raise LimitError("too-large", f"the grammar expands to more than {MAX_RULES:,} rules", unsafe=True)
        self._names.append(name)
        self._generated.append(generated)
        self._alternatives.append(())
        return len(self._names) - 1
