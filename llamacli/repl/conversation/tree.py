"""The messages of a conversation as a tree: undoing, asking again and editing make branches, and nothing said is lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from llamacli.engine.chat.message import Message


@dataclass(frozen=True, slots=True)
class Node:
    """A message and the one it follows; `parent` is None at a beginning. `cut` says why an answer is incomplete, if it is."""

    id: int
    parent: int | None
    message: Message
    cut: str = ""


class Journal(Protocol):
    """Who is told of every change, to keep it."""

    def added(self, node: Node) -> None:
        """A new message, or new text of one that grows."""

    def moved(self, head: int | None) -> None:
        """The conversation goes on behind another message."""


class Tree:
    """All messages, and `head`, the last one of the conversation as it is now (None before the first)."""

    def __init__(self, nodes: tuple[Node, ...] = (), head: int | None = None) -> None:
        self._nodes = {node.id: node for node in nodes}
        self.head = head
        self.journal: Journal | None = None

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All messages, in the order in which they were said."""
        return tuple(self._nodes.values())

    def path(self, tip: int | None = None) -> list[Node]:
        """The messages from the beginning to `tip`, or to the head."""
        found = []
        at = self.head if tip is None else tip
        while at is not None:
            found.append(self._nodes[at])
            at = self._nodes[at].parent
        return found[::-1]

    def messages(self, tip: int | None = None) -> tuple[Message, ...]:
        """The conversation as it is now, or as it was at `tip`."""
        return tuple(node.message for node in self.path(tip))

    def last(self, role: str) -> Node | None:
        """The last message of a role in the conversation as it is now."""
        return next((node for node in reversed(self.path()) if node.message.role == role), None)

    def add(self, message: Message) -> Node:
        """Says something behind the head."""
        node = Node(max(self._nodes, default=0) + 1, self.head, message)
        self._put(node)
        self.move(node.id)
        return node

    def grow(self, node: Node, message: Message, cut: str = "") -> Node:
        """Replaces the message of a node by a longer one."""
        node = replace(node, message=message, cut=cut)
        self._put(node)
        return node

    def move(self, head: int | None) -> None:
        """Goes on behind another message."""
        self.head = head
        if self.journal is not None:
            self.journal.moved(head)

    def tips(self) -> list[Node]:
        """The last message of each branch, in the order in which they were said."""
        parents = {node.parent for node in self._nodes.values()}
        return [node for node in self._nodes.values() if node.id not in parents]

    def _put(self, node: Node) -> None:
        self._nodes[node.id] = node
        if self.journal is not None:
            self.journal.added(node)
