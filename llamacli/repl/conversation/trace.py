"""The tokens of the answers that were generated in this program: what /continue, /probs and /pick work with."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.engine.chat.prompt import Prompt

if TYPE_CHECKING:
    from llamacli.repl.conversation.tree import Node

_ANSWERS = 50
"""So many of the latest answers are remembered."""


@dataclass(frozen=True, slots=True)
class Step:
    """A token of an answer; `logprob` is None where it was not chosen by the model."""

    id: int
    piece: bytes
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """How an answer came about: the prompt, and the tokens."""

    prompt: Prompt
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Beginning:
    """How the next answer begins: to message `question`, with these tokens.

    `node` is the answer that grows, None for a new one. Without tokens it begins with the text of the node.
    """

    question: int | None
    steps: tuple[Step, ...] = ()
    node: Node | None = None


class Traces:
    """The traces of the latest answers by the node that holds the answer."""

    def __init__(self) -> None:
        self._traces: OrderedDict[int, Trace] = OrderedDict()

    def put(self, node: int, trace: Trace) -> None:
        """Remembers how an answer came about."""
        self._traces[node] = trace
        self._traces.move_to_end(node)
        while len(self._traces) > _ANSWERS:
            self._traces.popitem(last=False)

    def get(self, node: int) -> Trace | None:
        """How an answer came about, or None."""
        return self._traces.get(node)

    def clear(self) -> None:
        """Forgets all: the model or the session is another."""
        self._traces.clear()
