"""File names of split models, `NAME-00001-of-00003.gguf`; llama.cpp loads the first part, which has the metadata."""

from __future__ import annotations

import re

MAX_PARTS = 999
"""Largest number of parts."""

_PART = r"(?si)(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)"


def part_names(name: str) -> tuple[str, ...]:
    """Return the names of all files of the model that `name` is a part of, in order; `(name,)` for an unsplit model."""
    match = re.fullmatch(_PART, name)
    if not match:
        return (name,)
    count = int(match["count"])
    if not 1 <= int(match["number"]) <= count <= MAX_PARTS:
        return (name,)
    return tuple(f"{match['stem']}-{number:05}-of-{count:05}{match['suffix']}" for number in range(1, count + 1))
