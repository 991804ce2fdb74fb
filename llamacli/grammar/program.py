"""The lowered form of a grammar: plain rules without groups and repetitions, built exactly as llama.cpp builds them.

A program is what llama.cpp's parser makes of a grammar (`src/llama-grammar.cpp`, `parse_sequence`), so that its verdicts on
limits, undefined rules and left recursion can be told before it is asked, and so that the matcher follows the same stacks.

Positions index `Program.code`. A symbol there is a terminal (its index, from 0), `END` of an alternative, or a rule
reference (`rule_of(symbol)`, below `END`). A position just before `END` is the last of its alternative.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from llamacli.grammar.nodes import AnyNode, Ranges

END: Final = -1
MAX_REPETITION = 2000
"""llama.cpp's `MAX_REPETITION_THRESHOLD`: on a lower bound, and on what nested repetitions multiply to."""
MAX_ELEMENTS = 500_000
"""Our bound on `Program.code`: llama.cpp has none, and takes all memory for `"a long text"{0,2000}`."""
MAX_RULES = 100_000
"""Our bound on lowered rules, groups and repetitions included."""


def symbol_of(rule: int) -> int:
    """The symbol that refers to `rule`."""
    return END - 1 - rule


def rule_of(symbol: int) -> int:
    """The rule that a symbol below `END` refers to."""
    return END - 1 - symbol


@dataclass(frozen=True, slots=True)
class Terminal:
    """What matches one character (`ranges`, `negated`), or, when `token` is set, one token and no character."""

    ranges: Ranges = ()
    negated: bool = False
    token: str | None = None
    token_id: int | None = None

    def matches(self, code: int) -> bool:
        """Whether this terminal takes the code point `code`."""
        if self.token is not None:
            return False
        return any(low <= code <= high for low, high in self.ranges) is not self.negated


ANY: Final = Terminal(negated=True)


class LimitError(Exception):
    """A repetition that llama.cpp refuses or does not survive. `unsafe` tells which."""

    def __init__(self, kind: str, message: str, *, unsafe: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.unsafe = unsafe


@dataclass(slots=True, eq=False)
class Program:
    """`alternatives[rule]` are the positions where its alternatives start; a rule without any is not defined.

    `owners[rule]` is the written rule it comes from: itself, or the one whose group or repetition it stands for
    (`generated`). `origins[position]` is the node that the symbol there came from.
    """

    names: list[str]
    generated: list[bool]
    alternatives: list[tuple[int, ...]]
    code: list[int]
    origins: list[AnyNode | None]
    terminals: list[Terminal]
    rule_ids: dict[str, int]
    root: int


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
    """Builds a program from what the parser meets, in the order in which it meets it.

    The order matters: llama.cpp numbers symbols as they appear, and its limit on repetitions counts those numbers.
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
        """How many groups are open."""
        return len(self._frames) - 1

    @property
    def repeatable(self) -> bool:
        """Whether an item stands before this place that a repetition can apply to. An empty literal is none."""
        frame = self._frames[-1]
        return frame.last < len(frame.code)

    def begin_rule(self, name: str) -> None:
        """`name ::=`. A second definition replaces the first, except for what the first one's groups became."""
        self._frames = [_Frame(self._named(name), 0)]

    def end_rule(self) -> None:
        """The body of the rule is complete."""
        self._close(self._frames.pop())

    def literal(self, codes: tuple[int, ...], node: AnyNode) -> None:
        """A text: one terminal for each code point."""
        frame = self._start_item()
        for code in codes:
            index = self._characters.get(code)
            if index is None:
                index = self._characters[code] = self._terminal(Terminal(((code, code),)))
            frame.code.append(index)
        frame.origins.extend([node] * len(codes))
        self._count(len(codes))

    def terminal(self, terminal: Terminal, node: AnyNode) -> None:
        """A class, `.` or a token."""
        frame = self._start_item()
        frame.code.append(self._terminal(terminal))
        frame.origins.append(node)
        self._count(1)

    def nothing(self) -> None:
        """A class without characters."""
        self._start_item()

    def reference(self, name: str, node: AnyNode) -> None:
        """A rule's name."""
        rule = self._named(name)
        frame = self._start_item()
        frame.code.append(symbol_of(rule))
        frame.origins.append(node)
        self._count(1)

    def alternative(self) -> None:
        """`|`."""
        frame = self._frames[-1]
        frame.code.append(END)
        frame.origins.append(None)
        frame.last = len(frame.code)
        frame.weight = 1
        self._count(1)

    def open_group(self) -> None:
        """`(`."""
        before = len(self._names)
        self._frames.append(_Frame(self._new(), before))

    def close_group(self, node: AnyNode) -> None:
        """`)`. `node` is the whole group."""
        group = self._frames.pop()
        self._close(group)
        frame = self._start_item()
        frame.weight = max(1, len(self._names) - group.symbols_before)
        frame.code.append(symbol_of(group.rule))
        frame.origins.append(node)
        self._count(1)

    def repeat(self, minimum: int, maximum: int | None, node: AnyNode) -> None:
        """Repeats the last item. Raises `LimitError`."""
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
        """The program of all rules met so far. Its root is -1 where `root` was never met."""
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
            message = f"the repetition {{{minimum},{maximum}}} ends below where it starts"
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
        # The outermost open rule is the written one that groups and repetitions belong to.
        return self._add(self._names[self._frames[0].rule], generated=True)

    def _add(self, name: str, *, generated: bool) -> int:
        if len(self._names) >= MAX_RULES:
            raise LimitError("too-large", f"the grammar expands to more than {MAX_RULES:,} rules", unsafe=True)
        self._names.append(name)
        self._generated.append(generated)
        self._alternatives.append(())
        return len(self._names) - 1
