"""Program: the lowered form of a grammar, plain rules without groups and repetitions.

A program equals the result of llama.cpp's parser (`src/llama-grammar.cpp`, `parse_sequence`). It predicts llama.cpp's verdicts
on limits, undefined rules and left recursion, and lets the matcher follow the same stacks.

Positions index `Program.code`. A symbol there is a terminal (its index, from 0), `END` of an alternative, or a rule
reference (`rule_of(symbol)`, below `END`). A position just before `END` is the last of its alternative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llamacli.grammar.syntax.nodes import AnyNode, Ranges

END: Final = -1
MAX_REPETITION = 2000
"""llama.cpp's `MAX_REPETITION_THRESHOLD`, for lower bounds and for the product of nested repetitions."""


def symbol_of(rule: int) -> int:
    """Return the symbol that refers to `rule`."""
    return END - 1 - rule


def rule_of(symbol: int) -> int:
    """Return the rule that a symbol below `END` refers to."""
    return END - 1 - symbol


@dataclass(frozen=True, slots=True)
class Terminal:
    """A matcher of one character (`ranges`, `negated`), or with `token` of one token and no character."""

    ranges: Ranges = ()
    negated: bool = False
    token: str | None = None
    token_id: int | None = None

    def matches(self, code: int) -> bool:
        """Return whether this terminal matches the code point `code`."""
        if self.token is not None:
            return False
        return any(low <= code <= high for low, high in self.ranges) is not self.negated


ANY: Final = Terminal(negated=True)


@dataclass(slots=True, eq=False)
class Program:
    """A lowered grammar. `alternatives[rule]` are the positions where its alternatives start; empty for an undefined rule.

    `names[rule]` is the rule's name in the source, or if `generated[rule]`, that of the rule whose group or repetition it
    replaces. `origins[position]` is the node of the symbol there. `rule_ids` maps names to rules; `root` is -1 if missing.
    """

    names: list[str]
    generated: list[bool]
    alternatives: list[tuple[int, ...]]
    code: list[int]
    origins: list[AnyNode | None]
    terminals: list[Terminal]
    rule_ids: dict[str, int]
    root: int
