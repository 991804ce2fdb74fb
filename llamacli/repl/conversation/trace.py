"""The tokens of the answers that this process generated, for /continue, /probs and /pick."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.engine.chat.prompt import Prompt

if TYPE_CHECKING:
    from llamacli.repl.conversation.tree import Node

_MAX_ANSWERS = 50
"""The number of answers that are remembered."""


@dataclass(frozen=True, slots=True)
class Step:
    """A token of an answer; `logprob` is None where the model did not choose it."""

    id: int
    piece: bytes
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """The prompt and the tokens of an answer."""

    prompt: Prompt
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Beginning:
    """The beginning of the next answer: the message `question` that it answers, and its first tokens.

    `node` is the answer that grows, None for a new one. Without tokens it begins with the text of the node.
    """

    question: int | None
    steps: tuple[Step, ...] = ()
    node: Node | None = None


class Traces:
    """The traces of the latest answers, by the node of the answer."""

    def __init__(self) -> None:
        self._traces: OrderedDict[int, Trace] = OrderedDict()

    def put(self, node: int, trace: Trace) -> None:
        """Remember the trace of an answer."""
        self._traces[node] = trace
        self._traces.move_to_end(node)
        while len(self._traces) > _MAX_ANSWERS:
            self._traces.popitem(last=False)

    def get(self, node: int) -> Trace | None:
        """Return the trace of an answer, or None."""
        return self._traces.get(node)

    def clear(self) -> None:
        """Forget all traces: the model or the session changes."""
        self._traces.clear()
