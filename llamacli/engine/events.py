"""What the scheduler tells while it works. Events are plain frozen values; what to do with them is the caller's business."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length", "context", "cancelled"]
"""`stop`: an end-of-generation token or a stop text; `length`: max_tokens; `context`: the context is full; `cancelled`."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one sequence. `cached_tokens` of the prompt were in the cache already and were not evaluated."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Durations in milliseconds, with llama-server's names. `predicted_n` counts sampled tokens, the end token included."""

    prompt_n: int
    prompt_ms: float
    predicted_n: int
    predicted_ms: float

    @property
    def prompt_per_second(self) -> float:
        """Prompt tokens evaluated per second, 0.0 when none was."""
        return 1e3 * self.prompt_n / self.prompt_ms if self.prompt_ms else 0.0

    @property
    def predicted_per_second(self) -> float:
        """Generated tokens per second, 0.0 when none was."""
        return 1e3 * self.predicted_n / self.predicted_ms if self.predicted_ms else 0.0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A candidate at one position: its id, its bytes and its natural-log probability before any sampler."""

    id: int
    piece: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class Prefill:
    """`done` of `total` prompt tokens of a sequence are evaluated. The last of these events has done == total."""

    sequence: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Token:
    """A sampled token. `text` is what became certain with it: whole characters, and nothing that could begin a stop text.

    It may be empty, and may hold characters of earlier tokens. `logprob` and `top` are filled when logprobs were asked for.
    """

    sequence: int
    id: int
    piece: bytes
    text: str
    logprob: float | None = None
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """A sequence ended. `text` is the rest of its text (held back for a stop text or an incomplete character), often empty.

    `stop_text` is the stop text that was met, if one was. An incomplete character at the very end becomes U+FFFD. `satisfied`
    says whether the text is complete under the grammar that held it; None if none did from the beginning.
    """

    sequence: int
    reason: FinishReason
    usage: Usage
    timings: Timings
    text: str = ""
    stop_text: str | None = None
    satisfied: bool | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A sequence ended with an error of its own; the others go on."""

    sequence: int
    error: Exception


Event = Prefill | Token | Finished | Failed
