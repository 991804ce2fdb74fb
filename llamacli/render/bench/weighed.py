"""What `bench tune --quality` has weighed, as text or as a JSON document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from llamacli.bench.tune.weigh import Loss, Weighed, WeighedType
from llamacli.render.bench.estimate import format_estimate
from llamacli.render.text import escape_line
from llamacli.render.wrap import wrap
from llamacli.units import format_bytes

_WIDEST = 100
_BOUNDS = "({} to {})"


def format_weighed(weighed: Weighed, *, width: int) -> str:
    """Return the losses that were measured, and the proposal."""
    lines = [""]
    for sentence in _sentences(weighed):
        lines += wrap(sentence, min(width, _WIDEST), rest="  ")
    return "\n".join(lines) + "\n"


def _sentences(weighed: Weighed) -> Iterator[str]:
    if weighed.settings is not None:
        verdict = "they are kept" if weighed.settings.is_inside else "too much: those that change results are left out"
        yield f"The settings: {_describe(weighed.settings)}; {verdict}."
    for one in weighed.types:
        if one.loss is None:
            yield f"{one.speed.type}: {escape_line(one.error or 'not judged')}."
            continue
        verdict = "inside the bound" if one.loss.is_inside else "too much"
        yield f"{one.speed.type}, {format_bytes(one.speed.size)}: {_describe(one.loss)}; {verdict}."
    if weighed.chosen is None:
        yield "No faster quantization stays inside the bound." if weighed.types else "No quantization is worth its loss here."
        return
    speeds = weighed.chosen.speed.speeds
    about = ", ".join(f"{phase} about {speed:,.0f} tokens/s" for phase, speed in speeds.items())
    made = f"; it is in {escape_line(str(weighed.file))}" if weighed.file is not None else " (--make FILE keeps it)"
    yield f"Proposed: {weighed.chosen.speed.type}, {about}{made}."


def _describe(loss: Loss) -> str:
    change = format_estimate(loss.perplexity, "{:+.2%}", _BOUNDS)
    return f"perplexity {change}, KL divergence {format_estimate(loss.divergence, '{:.5f}', _BOUNDS)}"


def weighed_document(weighed: Weighed) -> dict[str, Any]:
    """Return the JSON document. Changes of perplexity are relative."""
    return {
        "settings": None if weighed.settings is None else asdict(weighed.settings),
        "types": [_type_document(one) for one in weighed.types],
        "chosen": None if weighed.chosen is None else weighed.chosen.speed.type,
        "file": None if weighed.file is None else str(weighed.file),
    }


def _type_document(one: WeighedType) -> dict[str, Any]:
    return {
        "type": one.speed.type,
        "size": one.speed.size,
        "speeds": dict(one.speed.speeds),
        "loss": None if one.loss is None else asdict(one.loss),
        "error": one.error,
    }
