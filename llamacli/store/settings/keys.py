"""The vocabulary of settings: keys, values, where they came from and where they stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Place = tuple[str, ...]
"""Where in a file: `("profiles", "careful", "temp")`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An option as settings know it. `name` is how it is written, `spellings` are what else is understood.

    `convert` checks a value and returns it, or raises ValueError with the reason. The value of a
    `path` is a file's name, which counts from the folder of the settings file. A `personal` key has no place in a project's
    file: who downloads a project has not agreed to run what its authors name.
    """

    name: str
    convert: Callable[[object], object]
    spellings: tuple[str, ...] = ()
    path: bool = False
    personal: bool = False


Keys = Mapping[str, Key]
"""Keys by every spelling, see `keys_by_spelling`."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from. `layer` is one of flag, environment, project, user, model, built-in; `where` is for people."""

    layer: str
    where: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.where}" if self.where else self.layer


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of a key, and its origin."""

    key: str
    value: object
    origin: Origin


def keys_by_spelling(keys: Sequence[Key]) -> dict[str, Key]:
    """The keys under every spelling they have."""
    return {spelling(name): key for key in keys for name in (key.name, *key.spellings)}


def spelling(name: str) -> str:
    """`ctx_size` is `ctx-size`, and so is `--ctx-size`."""
    return name.lstrip("-").replace("_", "-")


def line_of(text: str, place: Place) -> int:
    """The line on which `place` is first set, from 1; 0 if that cannot be told. tomllib does not say.

    It is the line with which the text, cut off there, first holds the place; a value of several lines began earlier.
    """
    import tomllib

    lines = text.splitlines()
    start = 1
    for number in range(1, len(lines) + 1):
        try:
            found: Any = tomllib.loads("\n".join(lines[:number]))
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
        for name in place:
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None:
            return start
        start = number + 1
    return 0
