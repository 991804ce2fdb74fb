"""Triggers of lazy grammars."""

from __future__ import annotations

from typing import Literal

from llamacli.values import dataclass

TriggerKind = Literal["token", "word", "pattern", "pattern_full"]


@dataclass(frozen=True, slots=True)
class Trigger:
    """Text at which a lazy grammar starts: a word, or a regular expression for (all of) the text so far."""

    kind: TriggerKind
    value: str
