"""Builder of the syntax tree: collects the items that the parser reads into sequences, choices, groups and rules."""

from __future__ import annotations

from dataclasses import dataclass, field

from llamacli.grammar.syntax.nodes import Choice, Group, Node, Rule, Sequence


@dataclass(slots=True)
class _Open:
    """A group, or a rule's body, under construction. `option` is where its current alternative starts."""

    start: int
    body: int
    option: int
    options: list[Sequence] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)

    def choice(self, end: int) -> Choice:
        self.close_option(end)
        return Choice(tuple(self.options), self.body, end)

    def close_option(self, end: int) -> None:
        self.options.append(Sequence(tuple(self.items), self.option, end))
        self.items = []


class TreeBuilder:
    """One rule under construction. `end` is where the last item ends, white space excluded. Positions are character offsets."""

    def __init__(self) -> None:
        self.end = 0
        self._open: list[_Open] = []

    @property
    def group_start(self) -> int:
        """The position of the innermost open group, or of the rule."""
        return self._open[-1].start

    def begin_rule(self, start: int, body: int) -> None:
        """Start a rule at `start` whose body begins at `body`."""
        self._open = [_Open(start, body, body)]
        self.end = body

    def finish_rule(self, name: str, start: int, name_end: int) -> Rule:
        """Return the complete rule; all groups are closed."""
        (body,) = self._open
        return Rule(name, body.choice(self.end), name_end, start, self.end)

    def add(self, node: Node) -> None:
        """Append an item to the current sequence."""
        self._open[-1].items.append(node)
        self.end = node.end

    def pop(self) -> Node:
        """Remove and return the last item, for a repetition to wrap."""
        return self._open[-1].items.pop()

    def alternative(self, start: int) -> None:
        """Start the next alternative at `start`."""
        choice = self._open[-1]
        choice.close_option(self.end)
        choice.option = self.end = start

    def open_group(self, start: int, body: int) -> None:
        """Open a group at `start` whose body begins at `body`."""
        self._open.append(_Open(start, body, body))
        self.end = body

    def close_group(self, end: int) -> Group:
        """Close the innermost group and return it, not yet added."""
        group = self._open.pop()
        return Group(group.choice(self.end), group.start, end)
