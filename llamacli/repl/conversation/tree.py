"""The messages of a conversation as a tree: undo, regenerate and edit create branches, and no message is lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from llamacli.engine.chat.message import Message


@dataclass(frozen=True, slots=True)
class Node:
    """A message and its predecessor (`parent` None: the first). `cut` is the reason if an answer is incomplete."""

    id: int
    parent: int | None
    message: Message
    cut: str = ""


class Journal(Protocol):
    """A record of every change."""

    def added(self, node: Node) -> None:
        """Record a new message, or the new text of a growing one."""

    def moved(self, head: int | None) -> None:
        """Record the new last message of the conversation."""


class Tree:
    """All messages, and `head`, the last one of the current conversation (None before the first)."""

    def __init__(self, nodes: tuple[Node, ...] = (), head: int | None = None) -> None:
        self._nodes = {node.id: node for node in nodes}
        self.head = head
        self.journal: Journal | None = None

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All messages, the oldest first."""
        return tuple(self._nodes.values())

    def path(self, tip: int | None = None) -> list[Node]:
        """Return the messages from the first to `tip` (None: the head)."""
        found = []
        at = self.head if tip is None else tip
        while at is not None:
            found.append(self._nodes[at])
            at = self._nodes[at].parent
        return found[::-1]

    def messages(self, tip: int | None = None) -> tuple[Message, ...]:
        """Return the conversation up to `tip` (None: the head)."""
        return tuple(node.message for node in self.path(tip))

    def last(self, role: str) -> Node | None:
        """Return the last message of a role in the current conversation."""
        return next((node for node in reversed(self.path()) if node.message.role == role), None)

    def add(self, message: Message) -> Node:
        """Add a message after the head."""
        node = Node(max(self._nodes, default=0) + 1, self.head, message)
        self._put(node)
        self.move(node.id)
        return node

    def grow(self, node: Node, message: Message, cut: str = "") -> Node:
        """Replace the message of a node by a longer one."""
        node = replace(node, message=message, cut=cut)
        self._put(node)
        return node

    def move(self, head: int | None) -> None:
        """Continue after another message."""
        self.head = head
        if self.journal is not None:
            self.journal.moved(head)

    def tips(self) -> list[Node]:
        """Return the last message of each branch, the oldest first."""
        parents = {node.parent for node in self._nodes.values()}
        return [node for node in self._nodes.values() if node.id not in parents]

    def _put(self, node: Node) -> None:
        self._nodes[node.id] = node
        if self.journal is not None:
            self.journal.added(node)
