"""Quality in words and figures: the running estimate, and what a table has no room for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from llamacli.bench.measure.rows import Row
from llamacli.bench.quality.estimates import Estimate
from llamacli.bench.quality.result import QualityResult
from llamacli.render.bench.estimate import format_estimate
from llamacli.render.bench.formats import SHORT_NAMES, format_value, shown_settings
from llamacli.render.columns import format_columns
from llamacli.render.text import escape_line
from llamacli.render.wrap import wrap
from llamacli.units import counted

Paint = Callable[[str, str], str]

_HASH_DIGITS = 12
_QUANTILES = {"0.5": "median", "0.9": "90 %", "0.95": "95 %", "0.99": "99 %", "0.999": "99.9 %", "1": "largest"}


def format_running(estimate: Estimate | None) -> str:
    """Return the perplexity so far, for a line of progress."""
    if estimate is None:
        return "perplexity"
    return f"perplexity {format_estimate(estimate, '{:.3f}', '({} – {})')}"


def format_loss(result: QualityResult) -> str:
    """Return what a quantization lost, in a sentence: perplexities, and the divergence from the original."""
    found = result.divergence
    if result.perplexity is None or found is None:
        return "the loss was not measured\n"
    change = found.log_ratio.mapped(math.expm1)
    divergence, same = found.mean, found.same_top
    return (
        f"perplexity {found.reference.value:.3f} -> {result.perplexity.value:.3f} ({format_estimate(change, '{:+.2%}')}), "
        f"KL divergence {format_estimate(divergence, '{:.5f}')}, "
        f"same most probable token {format_estimate(same, '{:.1%}')}; {counted(result.windows, 'window')} of the shipped text\n"
    )


def format_details(rows: Sequence[Row], *, width: int, paint: Paint) -> str:
    """Return what was judged, and for each row with a reference the figures that the table leaves out."""
    judged = [row for row in rows if row.get("quality")]
    if not judged:
        return ""
    lines = ["", *wrap(_questions(judged) or _material(judged), width, rest="  ")]
    several = _distinct_settings(judged)
    for row in judged:
        reference = row["quality"].get("reference")
        if reference:
            name = " ".join([_model_name(row), *several(row)])
            title = f"{name} beside {escape_line(reference['name'])}"
            lines += ["", *(paint(line, "bold") for line in wrap(title, width, rest="  "))]
            lines += format_columns(list(_figures(reference)), right=(1,), width=width).splitlines()
    return "\n".join(lines) + "\n"


def _questions(rows: Sequence[Row]) -> str:
    """Return the number of questions and their file; an empty string if a text was judged."""
    first = rows[0]["quality"]
    if first["kind"] == "text":
        return ""
    count = max(len(row["quality"]["correct"]) for row in rows)
    noun = "question" if first["kind"] == "tasks" else "prompt"
    return f"Answered: {counted(count, noun)} of {escape_line(first['text'])} (sha256 {first['text_sha256'][:_HASH_DIGITS]}…)."


def _material(rows: Sequence[Row]) -> str:
    """Return what the rows were judged on, and how much of it."""
    first = rows[0]["quality"]
    text = "the shipped text" if first["text"] == "shipped" else escape_line(first["text"])
    known = f" (sha256 {first['text_sha256'][:_HASH_DIGITS]}…)" if first["text_sha256"] else ""
    windows = max(len(row["quality"]["losses"]) for row in rows)
    judged = max(row["quality"]["judged"] for row in rows)
    return f"Judged: {counted(judged, 'token')} in {counted(windows, 'window')} of {first['window']} tokens of {text}{known}."


def _figures(reference: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield "perplexity of the reference", *_cells(reference["perplexity"], "{:.4f}")
    yield "ln(perplexity / the reference's)", *_cells(reference["log_ratio"], "{:+.5f}")
    yield "KL divergence, mean", *_cells(reference["divergence"], "{:.6f}")
    for share, estimate in reference["divergence_quantiles"].items():
        yield f"  {_QUANTILES.get(share, share)}", *_cells(estimate, "{:.6f}")
    yield "same most probable token", *_cells(reference["same_top"], "{:.2%}")
    yield "change of the right token's probability, mean", *_cells(reference["change"], "{:+.3%}")
    yield "  root mean square", *_cells(reference["rms_change"], "{:.3%}")


def _cells(estimate: Mapping[str, float | None], pattern: str) -> tuple[str, str]:
    low, high = estimate["low"], estimate["high"]
    bounds = "" if low is None or high is None else f"{pattern.format(low)} – {pattern.format(high)}"
    return pattern.format(estimate["value"]), bounds


def _model_name(row: Row) -> str:
    return escape_line(str(row["model_filename"]).rpartition("/")[2])


def _distinct_settings(rows: Sequence[Row]) -> Callable[[Row], list[str]]:
    """Return a function that names the settings in which a row differs from others."""
    names = [name for name in shown_settings(rows) if len({row[name] for row in rows}) > 1]
    return lambda row: [f"{SHORT_NAMES.get(name, name)}={escape_line(format_value(name, row[name]) or '')}" for name in names]
