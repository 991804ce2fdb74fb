"""Tasks: what the calls ask the engine, and what their documents need."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.engine.generation.job import Job
from llamacli.openai.documents import Documents

if TYPE_CHECKING:
    from llamacli.engine.chat.turn import Turn
    from llamacli.engine.generation.request import Criterion, Processor
    from llamacli.engine.params import GenerationParams
    from llamacli.openai.response import Heading


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One answer to make: its turn, its parameters, and what its documents need. `text` is the prompt of a completion."""

    turn: Turn
    params: GenerationParams
    processor: Processor | None = None
    criterion: Criterion | None = None
    index: int = 0
    text: str = ""
    echo: bool = False

    def job(self) -> Job:
        """Return it as the engine takes it."""
        return Job(number=self.index, turn=self.turn, params=self.params, processor=self.processor, criterion=self.criterion)

    def documents(self, heading: Heading) -> Documents:
        """Return the maker of the answer's documents."""
        return Documents(
            heading=heading,
            logprobs=self.params.logprobs is not None,
            prompt=self.text if self.echo else None,
            offset=len(self.text),
            role={"role": "assistant"},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """What ends the answers of a chat format, beside the request's own stops."""

    texts: tuple[str, ...] = ()
    criterion: Criterion | None = None

    def added_to(self, params: GenerationParams) -> GenerationParams:
        """Return the limits with these stop texts."""
        return dataclasses.replace(params, stop=(*params.stop, *self.texts)) if self.texts else params

    def joined(self, other: Criterion | None) -> Criterion | None:
        """Return the criterion that is met if this one or the other is."""
        own = self.criterion
        if own is None or other is None:
            return own or other
        return lambda tokens, logits: own(tokens, logits) or other(tokens, logits)
