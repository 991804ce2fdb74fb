"""The statistics of an answer on one line."""

from __future__ import annotations

from llamacli.engine.events import Answer
from llamacli.render.wrap import wrap_parts
from llamacli.units import counted, format_speed

SEPARATOR = " · "
_REASONS = {"stop": "finished", "length": "cut by -n", "context": "context full", "cancelled": "cancelled"}


def format_stats(answer: Answer, *, load_ms: float, width: int | None = None) -> str:
    """Return the line of the statistics. With a `width` in columns, a longer line is broken between its parts."""
    return "\n".join(wrap_parts(stats_parts(answer, load_ms=load_ms), SEPARATOR, width))


def stats_parts(answer: Answer, *, load_ms: float) -> list[str]:
    """Return the parts of the line."""
    usage, timings, first_token_ms = answer.usage, answer.timings, answer.first_token_ms
    prompt = f"prompt {counted(usage.prompt_tokens, 'token')}"
    if usage.cached_tokens:
        restored = f", {usage.restored_tokens} from disk" if usage.restored_tokens else ""
        prompt += f" ({usage.cached_tokens} cached{restored})"
    if timings.prompt_n:
        prompt += f" at {format_speed(timings.prompt_per_second)}"
    generated = f"generated {counted(usage.completion_tokens, 'token')}"
    if timings.predicted_n:
        generated += f" at {format_speed(timings.predicted_per_second)}"
    if timings.draft_n:
        generated += f" ({timings.draft_n_accepted} of {timings.draft_n} drafted)"
    first = [] if first_token_ms is None else [f"first token after {_seconds(first_token_ms)}"]
    return [f"load {_seconds(load_ms)}", prompt, *first, generated, _REASONS[answer.finish_reason]]


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1e3:.2f} s"
