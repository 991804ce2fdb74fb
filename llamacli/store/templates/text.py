"""Text with variables, in the notations of three programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

INPUT = "input"
"""The variable that stands for what the user gives: the argument, files and standard input."""

_BRACES = re.compile(r"(?P<escape>\{\{|\}\})|\{(?P<name>[A-Za-z_][\w-]*)\}", re.ASCII)
_DOLLARS = re.compile(r"(?P<escape>\$\$)|\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})", re.ASCII)
_DOUBLE_BRACES = re.compile(r"\{\{\s*(?P<name>[A-Za-z_][\w-]*)\s*\}\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Variable:
    """A place in a text that a value takes."""

    name: str


@dataclass(frozen=True, slots=True)
class TemplateText:
    """Text and variables, in their order."""

    parts: tuple[str | Variable, ...]

    @classmethod
    def with_braces(cls, text: str) -> Self:
        """Parse `{name}`, as in templates of llamacli; `{{` and `}}` are braces, and so is a brace before anything else."""
        return cls(_parts(_BRACES, text))

    @classmethod
    def with_dollars(cls, text: str) -> Self:
        """Parse `$name` and `${name}`, as in templates of llm; `$$` is a dollar."""
        return cls(_parts(_DOLLARS, text))

    @classmethod
    def with_double_braces(cls, text: str) -> Self:
        """Parse `{{name}}`, as in fabric's patterns."""
        return cls(_parts(_DOUBLE_BRACES, text))

    @classmethod
    def literal(cls, text: str) -> Self:
        """Return text without variables."""
        return cls((text,))

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables, each once."""
        return tuple(dict.fromkeys(part.name for part in self.parts if isinstance(part, Variable)))

    def without(self, name: str) -> TemplateText:
        """Return the text without one variable."""
        return TemplateText(tuple(part for part in self.parts if part != Variable(name)))

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with values in place of all variables. A value is not read again: braces in it stay as they are."""
        return "".join(part if isinstance(part, str) else values[part.name] for part in self.parts)


def _parts(pattern: re.Pattern[str], text: str) -> tuple[str | Variable, ...]:
    found: list[str | Variable] = []
    end = 0
    for match in pattern.finditer(text):
        groups = match.groupdict()
        found.append(text[end : match.start()])
        found.append(match[0][0] if groups.get("escape") else Variable(groups["name"] or groups["braced"]))
        end = match.end()
    return (*(part for part in found if part), text[end:]) if text[end:] else tuple(part for part in found if part)
