"""The constraint and the reasoning of an answer as values, which any process can hold."""

from __future__ import annotations

from typing import Literal

from llamacli.engine.constraint.trigger import Trigger
from llamacli.values import dataclass

ThinkingState = Literal["none", "possible", "opened", "closed"]
"""Reasoning of an answer: none; possible, if the model starts it; opened or closed by the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A GBNF grammar for an answer.

    `prefix` is the end of the prompt, which the grammar includes. A `lazy` grammar starts at the first of its `triggers`.
    `trusted` grammars were generated or checked by us or llama.cpp, and are not checked again.
    """

    grammar: str
    root: str = "root"
    prefix: str = ""
    lazy: bool = False
    triggers: tuple[Trigger, ...] = ()
    trusted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """The marks of reasoning, from `start` to one of `ends`. `opened`: the prompt has started it.

    `budget` is the number of its tokens before its end is forced; None is no limit.
    """

    start: str
    ends: tuple[str, ...]
    opened: bool = False
    budget: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """Constraint and reasoning of an answer."""

    constraint: Constraint | None = None
    thinking: Thinking | None = None
