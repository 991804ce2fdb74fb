"""The types that a model can be quantized to."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from llamacli.binding.enums import llama_ftype
from llamacli.errors import UsageError

TYPES: dict[str, llama_ftype] = {
    member.name.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_").removeprefix("ALL_"): member
    for member in llama_ftype
    if member is not llama_ftype.LLAMA_FTYPE_GUESSED
}
"""The types that a model can be quantized to, by llama.cpp's names."""

_SYNONYMS = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}


@dataclass(frozen=True, slots=True)
class QuantizedSizes:
    """Bytes of all tensors before and after, to about 0.01 MiB. `needs_importance`: llama.cpp requires an importance matrix."""

    before: int
    after: int
    needs_importance: bool = False


def parse_type(name: str) -> str:
    """Return llama.cpp's name for a quantization written in any case.

    Raises:
        UsageError: if the type is unknown; the hint has the nearest name, or all names.
    """
    known = _SYNONYMS.get(name.upper(), name.upper())
    if known not in TYPES:
        near = difflib.get_close_matches(known, TYPES, n=1, cutoff=0.75)
        hint = f"did you mean {near[0]}?" if near else f"known types are {', '.join(sorted(TYPES))}"
        raise UsageError(f"unknown quantization {name}", hint=hint)
    return known
