"""The counts of a run over rows, for its progress and its summary."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from llamacli.engine.events import Usage
from llamacli.units import counted, format_speed, out_of


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

    def status(self, left: str = "", *, earlier: int = 0, total: int | None = None) -> str:
        """Return the finished rows, with those of an earlier run, of `total` if known; the speed, and the time left."""
        done = self.rows + earlier
        rows = counted(done, "row") if total is None else out_of(done, total, "row")
        return f"{rows}, {format_speed(self.rate())}{left}"

    def rate(self) -> float:
        """Return the generated tokens per second so far."""
        return self.completion_tokens / max(1e-9, time.perf_counter() - self.started)

    def summary(self, *, interrupted: bool = False) -> str:
        """Return the counts in one line, which says if the run was interrupted."""
        seconds = time.perf_counter() - self.started
        total = self.prompt_tokens + self.completion_tokens
        return (
            f"{'interrupted after ' if interrupted else ''}{counted(self.rows, 'row')}, {self.failed} failed · "
            f"{counted(self.prompt_tokens, 'token')} in ({self.cached_tokens} shared), "
            f"{self.completion_tokens} out · {format_speed(total / max(seconds, 1e-9))} · {seconds:.1f} s"
        )
