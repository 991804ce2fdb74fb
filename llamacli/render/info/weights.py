"""How far the weights of two models are apart, as a table or as a JSON document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from llamacli.engine.quantization.types import TensorDifference
from llamacli.render.columns import format_columns
from llamacli.render.text import escape_line
from llamacli.units import counted

_TITLES = ("tensor", "types", "RMS", "relative", "largest", "cosine")


def format_weights(found: Sequence[TensorDifference], *, width: int) -> str:
    """Return a line for each tensor, and a last one for all together."""
    rows = [_TITLES, *map(_row, found)]
    differing = [one for one in found if one.rms or one.not_finite]
    total = f"{len(differing):,} of {counted(len(found), 'tensor')} differ; relative RMS of all weights {_relative(found):.3%}"
    broken = sum(one.not_finite for one in found)
    notes = f"{counted(broken, 'value is', 'values are')} not finite\n" if broken else ""
    return format_columns(rows, right=(2, 3, 4, 5), width=width) + f"{total}\n{notes}"


def weights_document(old: str, new: str, found: Sequence[TensorDifference]) -> dict[str, Any]:
    """Return the JSON document."""
    return {"old": old, "new": new, "relative": _relative(found), "tensors": [asdict(one) for one in found]}


def _row(one: TensorDifference) -> tuple[str, ...]:
    types = one.old_type if one.old_type == one.new_type else f"{one.old_type} -> {one.new_type}"
    if not one.rms and not one.not_finite:
        return escape_line(one.name), types, "0", "", "", ""
    relative = "" if one.relative is None else f"{one.relative:.3%}"
    cosine = "" if one.cosine is None else f"{one.cosine:.6f}"
    return escape_line(one.name), types, f"{one.rms:.3g}", relative, f"{one.largest:.3g}", cosine


def _relative(found: Sequence[TensorDifference]) -> float:
    """Return the RMS of all differences, divided by that of the old values of the tensors."""
    errors = sum(one.rms**2 * one.values for one in found)
    norms = sum(one.old_rms**2 * one.values for one in found)
    return math.sqrt(errors / norms) if norms else 0.0
