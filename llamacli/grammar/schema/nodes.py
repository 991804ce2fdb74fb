"""The intermediate form of a schema: a graph of nodes by number, and the rules of those that a JSON text can satisfy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llamacli.grammar.schema.keys import other_names
from llamacli.grammar.schema.repetition import repeat
from llamacli.grammar.schema.rules import PRIMITIVES, Rules
from llamacli.grammar.syntax.writer import choice, literal


@dataclass(frozen=True, slots=True)
class Text:
    """A rule body, or the name of a primitive."""

    body: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several nodes."""

    options: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Property:
    """A property: its name as JSON text, and its value."""

    name: str
    value: int
    required: bool

    @property
    def label(self) -> str:
        """A part of rule names."""
        return self.name.strip('"')


@dataclass(frozen=True, slots=True)
class Object:
    """Properties in their order; `others` is the value of additional ones, whose names a rule of strings can restrict."""

    properties: tuple[Property, ...]
    names: tuple[str, ...] = ()
    others: int | None = None
    other_name: str | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Array:
    """Items at the start, then from `low` to `high` others."""

    items: tuple[int, ...]
    rest: int | None = None
    low: int = 0
    high: int | None = None


Node = Text | Choice | Object | Array


class Emitter:
    """Writes the rules of nodes. Those without a finite JSON text are left out."""

    def __init__(self, rules: Rules, nodes: Mapping[int, Node], names: Mapping[int, str]) -> None:
        self._rules = rules
        self._nodes = nodes
        self._names = names
        self._written: dict[int, str] = {}
        self._pending: list[int] = []
        self._possible = _possible(nodes)

    def is_possible(self, number: int) -> bool:
        """Return whether a finite JSON text satisfies a node."""
        return number in self._possible

    def write(self, root: int) -> None:
        """Write the rules of a possible node, the root, and of all that it needs."""
        self._written[root] = "root"
        self._pending.append(root)
        while self._pending:
            number = self._pending.pop(0)
            self._rules.set(self._written[number], self._body(self._nodes[number], self._written[number]))

    def _rule(self, number: int) -> str:
        """Return the name of a node's rule."""
        node = self._nodes[number]
        if isinstance(node, Text) and node.body in PRIMITIVES:
            return self._rules.primitive(node.body)
        if number not in self._written:
            self._written[number] = self._rules.reserve(self._names[number])
            self._pending.append(number)
        return self._written[number]

    def _body(self, node: Node, name: str) -> str:
        if isinstance(node, Text):
            if node.body in PRIMITIVES:
                self._rules.primitive(node.body)
                return PRIMITIVES[node.body]
            return node.body
        self._rules.primitive("space")
        if isinstance(node, Choice):
            return choice([self._rule(option) for option in node.options if option in self._possible])
        return self._object(node, name) if isinstance(node, Object) else self._array(node, name)

    def _array(self, node: Array, name: str) -> str:
        items = [self._rule(item) for item in node.items]
        start = ' "," space '.join(items)
        if node.rest is None or node.rest not in self._possible or node.high == 0:
            return f'"[" space {start} space "]"' if items else '"[" space "]"'
        rest = self._rule(node.rest)
        following = self._rules.add(f"{name}-next", f'"," space {rest}')
        if items:
            return f'"[" space {start} {repeat(self._rules, following, node.low, node.high)} space "]"'
        high = None if node.high is None else node.high - 1
        body = f"{rest} {repeat(self._rules, following, max(0, node.low - 1), high)}".strip()
        return f'"[" space {body if node.low else f"({body})?"} space "]"'

    def _object(self, node: Object, name: str) -> str:
        """Required properties come first; each state is a rule, with and without a property before it."""
        entries = [one for one in node.properties if one.value in self._possible]
        entries.sort(key=lambda one: not one.required)
        pairs = [
            self._rules.add(f"{name}-{one.label}-kv", f'{literal(one.name)} space ":" space {self._rule(one.value)}')
            for one in entries
        ]
        others = self._others(node, name)
        first, after = others
        for one, pair in zip(reversed(entries), reversed(pairs), strict=True):
            following = self._rules.add(f"{name}-{one.label}-rest", after) if after else ""
            if one.required:
                first, after = f"{pair} {following}".strip(), f'"," space {pair} {following}'.strip()
            else:
                skipped = self._rules.add(f"{name}-{one.label}-skipped", first) if first else ""
                first = choice([f"{pair} {following}".strip(), skipped])
                after = f'("," space {pair})? {following}'.strip()
        return f'"{{" space {f"({first}) space" if first else ""} "}}"'.replace("  ", " ")

    def _others(self, node: Object, name: str) -> tuple[str, str]:
        """Return the additional properties, without and with a property before them."""
        if node.others is None or node.others not in self._possible or node.most == 0:
            return "", ""
        if node.other_name is not None:
            key = node.other_name
        elif node.names:
            key = other_names(self._rules, node.names, f"{name}-additional-k")
        else:
            key = self._rules.primitive("string")
        pair = self._rules.add(f"{name}-additional-kv", f'{key} ":" space {self._rule(node.others)}')
        following = self._rules.add(f"{name}-additional-next", f'"," space {pair}')
        high = None if node.most is None else node.most - 1
        return f"({pair} {repeat(self._rules, following, 0, high)})?", repeat(self._rules, following, 0, node.most)


def _possible(nodes: Mapping[int, Node]) -> set[int]:
    """Return the nodes that a finite JSON text satisfies: the least set that is closed under their rules."""
    users: dict[int, list[int]] = {}
    missing: dict[int, int] = {}
    found: set[int] = set()
    pending: list[int] = []
    for number, node in nodes.items():
        needed = _needed(node)
        missing[number] = 1 if isinstance(node, Choice) else len(needed)
        for child in needed:
            users.setdefault(child, []).append(number)
        if not missing[number]:
            pending.append(number)
    while pending:
        number = pending.pop()
        if number in found:
            continue
        found.add(number)
        for user in users.get(number, ()):
            missing[user] -= 1
            if missing[user] == 0:
                pending.append(user)
    return found


def _needed(node: Node) -> list[int]:
    """Return the nodes that a node needs: all of them, but one of a choice."""
    if isinstance(node, Choice):
        return list(node.options)
    if isinstance(node, Object):
        return [one.value for one in node.properties if one.required]
    if isinstance(node, Array):
        return [*node.items, *([node.rest] if node.low and node.rest is not None else ())]
    return []
