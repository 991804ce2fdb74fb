"""Built-in grammars."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

_SUFFIX = ".gbnf"


@dataclass(frozen=True, slots=True)
class Builtin:
    """A built-in grammar. `summary` is its first comment line."""

    name: str
    summary: str
    text: str


def builtin_names() -> list[str]:
    """Return the names, sorted."""
    return sorted(file.name.removesuffix(_SUFFIX) for file in _folder().iterdir() if file.name.endswith(_SUFFIX))


def builtin(name: str) -> Builtin | None:
    """Return the grammar of a name, or None."""
    if name not in builtin_names():
        return None
    text = (_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
    return Builtin(name, text.partition("\n")[0].lstrip("# "), text)


def _folder() -> resources.abc.Traversable:
    return resources.files(__package__) / "builtin"
