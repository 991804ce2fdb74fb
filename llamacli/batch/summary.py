"""The counts of a run over rows, for its progress and its summary."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from llamacli.engine.events import Usage
from llamacli.units import counted, format_speed


@dataclass(slots=True)
class Tally:
    """Rows and tokens so far, and the time since the start."""

    rows: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    started: float = field(default_factory=time.perf_counter)

    def add(self, usage: Usage) -> None:
        """Count the tokens of an answer."""
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_tokens
        self.completion_tokens += usage.completion_tokens

    def status(self, done: int, total: int | None) -> str:
        """Return rows, speed, and the time left, estimated from the share of the input in bytes that was read."""
        text = f"{counted(self.rows, 'row')}, {format_speed(self.rate())}"
        if not total or not 0 < done < total:
            return text
        left = (time.perf_counter() - self.started) * (total - done) / done
        return f"{text}, {int(left // 60)}:{int(left % 60):02d} left"

    def rate(self) -> float:
        """Return the generated tokens per second so far."""
        return self.completion_tokens / max(1e-9, time.perf_counter() - self.started)

    def summary(self) -> str:
        """Return the counts in one line."""
        seconds = time.perf_counter() - self.started
        total = self.prompt_tokens + self.completion_tokens
        return (
            f"{counted(self.rows, 'row')}, {self.failed} failed · "
            f"{counted(self.prompt_tokens, 'token')} in ({self.cached_tokens} shared), "
            f"{self.completion_tokens} out · {format_speed(total / max(seconds, 1e-9))} · {seconds:.1f} s"
        )
