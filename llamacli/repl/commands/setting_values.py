"""`/set`: the fields of the sampling and generation parameters by name, and their values from text."""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.engine.runtime.logit_bias import Bias

ALIASES = {
    "temp": "temperature",
    "n": "max_tokens",
    "predict": "max_tokens",
    "n_predict": "max_tokens",
    "typical": "typical_p",
    "dynatemp_exp": "dynatemp_exponent",
    "mirostat_lr": "mirostat_eta",
    "mirostat_ent": "mirostat_tau",
    "dry_sequence_breaker": "dry_sequence_breakers",
}
"""Options of the command line whose names differ from the fields that they set."""

_SAMPLING = typing.get_type_hints(SamplingParams)
_GENERATION = {
    name: kind for name, kind in typing.get_type_hints(GenerationParams).items() if name not in ("sampling", "logprobs")
}
_SWITCHES = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
_ESCAPED = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}


def setting_names() -> list[str]:
    """Return every name that `/set` accepts, without aliases."""
    return [*_SAMPLING, *_GENERATION]


def complete_setting(text: str) -> list[str]:
    """Return completions for the argument of `/set`: names, and after a name its values."""
    name, space, _ = text.partition(" ")
    if not space:
        return setting_names()
    name = ALIASES.get(name.replace("-", "_"), name.replace("-", "_"))
    kind = _SAMPLING.get(name) or _GENERATION.get(name)
    if kind is None:
        return []
    options = ["on", "off"] if kind is bool else [str(one) for one in typing.get_args(kind) if isinstance(one, int | str)]
    if types.NoneType in typing.get_args(kind) or name == "logit_bias":
        options.append("none")
    return [f"{text.partition(' ')[0]} {option}" for option in (*options, "default")]


def is_generation(name: str) -> bool:
    """Return whether a field belongs to GenerationParams."""
    return name in _GENERATION


def setting_name(text: str) -> str:
    """Return the name of the field.

    Raises:
        UsageError: if the name is unknown, with a suggestion.
    """
    name = text.lstrip("-").replace("-", "_").lower()
    name = ALIASES.get(name, name)
    if name not in setting_names():
        near = difflib.get_close_matches(name, [*setting_names(), *ALIASES], n=1)
        hint = f"did you mean {near[0]}?" if near else "/params lists the parameters"
        raise UsageError(f"unknown parameter {text}", hint=hint)
    return name


def read_value(name: str, text: str) -> Any:
    """Return the value of a parameter. Its range is not checked.

    Raises:
        UsageError: if the value is of the wrong type.
    """
    kind = (_GENERATION if name in _GENERATION else _SAMPLING)[name]
    try:
        return _read(kind, text)
    except ValueError:
        raise UsageError(f"invalid value {text!r} for {name}", hint=f"expected {_described(kind)}") from None


def format_value(value: object) -> str:
    """Return a value as `/set` accepts it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(str(one).replace("\\", "\\\\").replace("\n", "\\n") for one in value) or "none"
    return str(value)


def format_biases(biases: Sequence[Bias]) -> str:
    """Return biases as `/set` accepts them, one by one."""
    shown = []
    for token, bias in biases:
        name = str(token) if isinstance(token, int) else f'"{token}"'.replace("\n", "\\n")
        shown.append(f"{name}={'false' if math.isinf(bias) else f'{bias:g}'}")
    return ", ".join(shown) or "none"


def _read(kind: Any, text: str) -> Any:
    options = typing.get_args(kind)
    if types.NoneType in options:
        if text.lower() in ("none", "-1", "random"):
            return None
        kind = next(option for option in options if option is not types.NoneType)
        options = typing.get_args(kind)
    if kind is bool:
        if text.lower() not in _SWITCHES:
            raise ValueError(text)
        return _SWITCHES[text.lower()]
    if typing.get_origin(kind) is tuple:
        parts = [] if text.lower() == "none" else text.split(",")
        return tuple(re.sub(r"\\[nt\\]", lambda match: _ESCAPED[match[0]], part) for part in parts)
    return float(text) if kind is float else int(text)


def _described(kind: Any) -> str:
    options = typing.get_args(kind)
    if types.NoneType in options:
        return _described(next(option for option in options if option is not types.NoneType)) + ", or none"
    if typing.get_origin(kind) is tuple:
        return "comma-separated texts"
    return {bool: "on or off", float: "a number", int: "a whole number"}.get(kind, f"one of {', '.join(map(str, options))}")
