"""The statistics of an answer on one line."""

from __future__ import annotations

from llamacli.engine.events import Finished
from llamacli.render.wrap import wrap_parts

_SEPARATOR = " · "
_REASONS = {"stop": "finished", "length": "cut by -n", "context": "context full", "cancelled": "cancelled"}


def format_stats(finished: Finished, *, load_ms: float, first_token_ms: float | None, width: int | None = None) -> str:
    """Return the line of `--stats`. `first_token_ms` counts from the request; None without any token.

    With a `width` in columns, a longer line is broken between its parts.
    """
    usage, timings = finished.usage, finished.timings
    prompt = f"prompt {format_tokens(usage.prompt_tokens)}"
    if usage.cached_tokens:
        prompt += f" ({usage.cached_tokens} cached)"
    if timings.prompt_n:
        prompt += f" at {timings.prompt_per_second:.1f}/s"
    generated = f"generated {format_tokens(usage.completion_tokens)}"
    if timings.predicted_n:
        generated += f" at {timings.predicted_per_second:.1f}/s"
    first = [] if first_token_ms is None else [f"first token after {_seconds(first_token_ms)}"]
    parts = [f"load {_seconds(load_ms)}", prompt, *first, generated, _REASONS[finished.reason]]
    return _SEPARATOR.join(parts) if width is None else "\n".join(wrap_parts(parts, _SEPARATOR, width))


def format_tokens(count: int) -> str:
    """Return the number with its noun."""
    return f"{count} token" if count == 1 else f"{count} tokens"


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1e3:.2f} s"
