"""Sampling parameters recommended by a model's metadata (`general.sampling.*`, llama.cpp's `llama_model_meta_key`)."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

from llamacli.engine.params import SamplingParams
from llamacli.errors import UsageError

logger = logging.getLogger("llamacli.engine")

FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "sequence": ("samplers", lambda text: tuple(text.split(";"))),
    "top_k": ("top_k", int),
    "top_p": ("top_p", float),
    "min_p": ("min_p", float),
    "xtc_probability": ("xtc_probability", float),
    "xtc_threshold": ("xtc_threshold", float),
    "temp": ("temperature", float),
    "penalty_last_n": ("repeat_last_n", int),
    "penalty_repeat": ("repeat_penalty", float),
    "mirostat": ("mirostat", int),
    "mirostat_tau": ("mirostat_tau", float),
    "mirostat_eta": ("mirostat_eta", float),
}
"""For each key of the metadata, our field and the parser of its text."""


def with_recommendations(base: SamplingParams, recommended: Mapping[str, str]) -> SamplingParams:
    """Return `base` with the recommended values. Invalid values are ignored, with a warning in the log."""
    for key, text in recommended.items():
        if key not in FIELDS:
            continue
        name, read = FIELDS[key]
        try:
            base = dataclasses.replace(base, **{name: read(text)})
        except (ValueError, UsageError) as error:
            logger.warning("the model recommends an invalid %s = %r: %s", key, text, error)
    return base
