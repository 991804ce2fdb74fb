"""The vocabulary of settings: keys, values, their origins and their locations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llamacli.values import dataclass

KeyPath = tuple[str, ...]
"""The location of a key in a file: `("profiles", "careful", "temp")`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An option in settings files. `name` is its canonical spelling, `spellings` are alternatives.

    `convert` validates a value and returns it, or raises ValueError with the reason. The value of a `path` key is a path
    relative to the folder of the settings file. A `personal` key cannot be set in a project's file: the user who downloads a
    project has not agreed to run the programs that its authors name.
    """

    name: str
    convert: Callable[[object], object]
    spellings: tuple[str, ...] = ()
    path: bool = False
    personal: bool = False


Keys = Mapping[str, Key]
"""Keys by spelling, see `keys_by_spelling`."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of a value. `layer` is one of flag, environment, project, user, model, built-in; `where` is for the user."""

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
    """The keys by each of their spellings."""
    return {spelling(name): key for key in keys for name in (key.name, *key.spellings)}


def spelling(name: str) -> str:
    """Normalize a key: `ctx_size` and `--ctx-size` become `ctx-size`."""
    return name.lstrip("-").replace("_", "-")


def line_of(text: str, key_path: KeyPath) -> int:
    """The line on which `key_path` is first set, from 1; 0 if unknown. tomllib does not report lines.

    The shortest prefix of the text that contains the key ends with its value; a value of several lines began earlier.
    """
    import tomllib

    lines = text.splitlines()
    start = 1
    for number in range(1, len(lines) + 1):
        try:
            found: Any = tomllib.loads("\n".join(lines[:number]))
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
        for name in key_path:
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None:
            return start
        start = number + 1
    return 0
