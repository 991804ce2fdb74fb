"""Syntax tree of a grammar, with positions.

`start` and `end` are character offsets into the source. Trees can be nested a thousand deep, so traversals do not recurse:
`fold` combines from the leaves up, `walk` visits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Ranges = tuple[tuple[int, int], ...]
"""Inclusive ranges of code points as in the source: neither sorted nor merged; a reversed one matches nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """Text in double quotes, as code points: not a `str`, because escapes can denote numbers beyond Unicode."""

    codes: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class CharClass:
    """`[...]` or `[^...]`. A class without ranges matches the empty string, as in llama.cpp."""

    ranges: Ranges
    negated: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class AnyChar:
    """`.`: any character, line ends included."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class TokenReference:
    """`<[id]>` (with `id`) or `<text>`: a token of the model's vocabulary; with `!`, any other token."""

    text: str
    id: int | None
    negated: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class RuleReference:
    """The name of a rule."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """Items one after another; without items, the empty string."""

    items: tuple[Node, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Alternatives separated by `|`: the body of a rule or of a group."""

    options: tuple[Sequence, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """`( ... )`."""

    body: Choice
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """`item?`, `item*`, `item+`, `item{m}`, `item{m,}`, `item{m,n}`; `maximum` is None without an upper bound.

    `operator` is the character offset of the `?`, `*`, `+` or `{`. The bounds are those that llama.cpp applies: it ignores an
    upper bound above 2,000, which `written_maximum` keeps.
    """

    item: Node
    minimum: int
    maximum: int | None
    written_maximum: int | None
    operator: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """`name ::= body`. `start` and `end` span the whole rule; `name_end` is the end of its name."""

    name: str
    body: Choice
    name_end: int
    start: int
    end: int


Node = Literal | CharClass | AnyChar | TokenReference | RuleReference | Group | Repeat
AnyNode = Node | Sequence | Choice
T = TypeVar("T")


def children(node: AnyNode) -> tuple[AnyNode, ...]:
    """Return the nodes directly below `node`."""
    match node:
        case Sequence():
            return node.items
        case Choice():
            return node.options
        case Group():
            return (node.body,)
        case Repeat():
            return (node.item,)
    return ()


def walk(root: AnyNode) -> Iterator[AnyNode]:
    """Yield `root` and all nodes below it, parents first, in the order of the source."""
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(children(node)))


def fold(root: AnyNode, combine: Callable[[AnyNode, list[T]], T]) -> T:
    """Compute `combine(node, results of its children)` from the leaves up, and return the root's result."""
    pending: list[tuple[AnyNode, bool]] = [(root, False)]
    results: list[T] = []
    while pending:
        node, ready = pending.pop()
        below = children(node)
        if ready or not below:
            first = len(results) - len(below)
            results[first:] = [combine(node, results[first:])]
        else:
            pending.append((node, True))
            pending.extend((child, False) for child in reversed(below))
    return results[0]
