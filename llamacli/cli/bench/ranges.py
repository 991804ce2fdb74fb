"""llama-bench's lists: `512,1024`, `128-512+128`, `1-8*2`, or words. Each parser raises ValueError with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar, get_args

from llamacli.cli.framework.parsers import parse_bool, parse_draft, parse_float, parse_int
from llamacli.engine.params import CacheType, FlashAttention, Kernels, LoadMode, SplitMode

T = TypeVar("T")

_RANGE = re.compile(r"(-?\d+)(?:-(\d+)(?:([+*])(\d+))?)?")
_MOST_VALUES = 100_000

_FLASH = {"0": "off", "1": "on", "-1": "auto"}


def parse_ranges(text: str) -> tuple[int, ...]:
    """Parse comma-separated numbers and ranges `first-last`, `first-last+step` and `first-last*factor`."""
    return tuple(value for part in text.split(",") for value in _range(part.strip()))


def _range(text: str) -> list[int]:
    match = _RANGE.fullmatch(text)
    if not match:
        raise ValueError(f"'{text}' is not a number or a range, such as 512, 128-512+128 or 1-8*2")
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    operator, step = match[3] or "+", int(match[4]) if match[4] else 1
    values, value = [], first
    while value <= last:
        values.append(value)
        following = value + step if operator == "+" else value * step
        if following <= value:
            raise ValueError(f"the range {text} never ends")
        if len(values) > _MOST_VALUES:
            raise ValueError(f"the range {text} has more than {_MOST_VALUES:,} values")
        value = following
    if not values:
        raise ValueError(f"the range {text} is empty")
    return values


def parse_pair(text: str) -> tuple[int, int]:
    """Parse two numbers of tokens: PP,TG."""
    prompt, comma, answer = text.partition(",")
    if not comma:
        raise ValueError(f"'{text}' is not two numbers, such as 512,128")
    return parse_int(prompt), parse_int(answer)


def parse_models(text: str) -> tuple[str, ...]:
    """Parse comma-separated references of models; the name of an existing file may contain commas."""
    if Path(text).is_file():
        return (text,)
    parts = tuple(text.split(","))
    if not all(parts):
        raise ValueError("the name of a model is empty")
    return parts


def parse_layers(text: str) -> tuple[int, ...]:
    """Parse ranges as `parse_ranges`, with `all` and `auto` as -1."""
    return tuple(value for part in text.split(",") for value in ((-1,) if part in ("all", "auto") else _range(part)))


def parse_switches(text: str) -> tuple[bool, ...]:
    """Parse comma-separated 0 and 1."""
    return tuple(parse_bool(part) for part in text.split(","))


def parse_drafts(text: str) -> tuple[int | None, ...]:
    """Parse comma-separated `auto` (None), `off` (0) and numbers of tokens."""
    return tuple(parse_draft(part) for part in text.split(","))


def parse_flash(text: str) -> tuple[FlashAttention, ...]:
    """Parse comma-separated `on`, `off` and `auto`, or 1, 0 and -1."""
    return _words((_FLASH.get(part, part) for part in text.split(",")), get_args(FlashAttention))


def parse_types(text: str) -> tuple[CacheType, ...]:
    """Parse comma-separated cache types."""
    return _words(text.split(","), get_args(CacheType))


def parse_splits(text: str) -> tuple[SplitMode, ...]:
    """Parse comma-separated split modes."""
    return _words(text.split(","), get_args(SplitMode))


def parse_load_modes(text: str) -> tuple[LoadMode, ...]:
    """Parse comma-separated load modes."""
    return _words(text.split(","), get_args(LoadMode))


def parse_kernels(text: str) -> tuple[Kernels, ...]:
    """Parse comma-separated names of kernels."""
    return _words(text.split(","), get_args(Kernels))


def parse_devices(text: str) -> tuple[tuple[str, ...], ...]:
    """Parse comma-separated lists of slash-separated devices; `auto` is llama.cpp's choice."""
    return tuple(() if part == "auto" else tuple(name for name in part.split("/") if name) for part in text.split(","))


def parse_shares(text: str) -> tuple[tuple[float, ...], ...]:
    """Parse comma-separated lists of the GPUs' shares, separated by slashes or semicolons."""
    return tuple(tuple(parse_float(share) for share in re.split("[/;]", part)) for part in text.split(","))


def parse_texts(text: str) -> tuple[str, ...]:
    """Parse comma-separated text."""
    return tuple(text.split(","))


def _words(words: Iterable[str], known: tuple[T, ...]) -> tuple[T, ...]:
    found = []
    for word in words:
        match = next((one for one in known if one == word), None)
        if match is None:
            raise ValueError(f"'{word}' is not one of {', '.join(map(str, known))}")
        found.append(match)
    return tuple(found)
