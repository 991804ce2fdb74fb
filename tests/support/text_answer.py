"""The answer of an engine to a text, without the events before it."""

from __future__ import annotations

from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.params import GenerationParams


def answer(engine: Engine, text: str, params: GenerationParams, constraint: Constraint | None = None) -> Answer:
    """Return the one answer to a text."""
    (found,) = [one for one in engine.answer(engine.text_turn(text, constraint), params) if isinstance(one, Answer)]
    return found
