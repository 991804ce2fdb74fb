"""The rules of `.gitignore` files (gitignore(5)): which paths below a folder are ignored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

NAME = ".gitignore"

_LARGEST = 1 << 20
_CLASS = re.compile(r"\[([!^]?)(\]?[^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of a `.gitignore` file. `pattern` matches paths below the file's folder, `/` between their names."""

    pattern: re.Pattern[str]
    is_exception: bool
    is_for_folders: bool


def read_rules(folder: Path) -> tuple[Rule, ...]:
    """Return the rules in the `.gitignore` file of a folder, none if it has no such file or the file cannot be read."""
    try:
        with (folder / NAME).open("rb") as file:
            text = file.read(_LARGEST).decode("utf-8", "surrogateescape")
    except OSError:
        return ()
    return tuple(rule for line in text.removeprefix("\ufeff").splitlines() if (rule := parse_rule(line)) is not None)


def parse_rule(line: str) -> Rule | None:
    """Return the rule in a line, None if it has none."""
    line = re.sub(r"(?<!\\) +$", "", line)
    if not line or line.startswith("#"):
        return None
    is_exception = line.startswith("!")
    line = line.removeprefix("!")
    is_for_folders = line.endswith("/")
    line = line.rstrip("/")
    if not line:
        return None
    anywhere = "" if "/" in line else "(?:.*/)?"
    try:
        pattern = re.compile(anywhere + _translate(line.removeprefix("/")), re.DOTALL)
    except re.error:  # such as a range that ends before it begins: it matches nothing
        return None
    return Rule(pattern, is_exception, is_for_folders)


def _translate(glob: str) -> str:
    """Return the regular expression of a pattern."""
    parts: list[str] = []
    position = 0
    while position < len(glob):
        rest = glob[position:]
        starts_a_name = position == 0 or glob[position - 1] == "/"
        if starts_a_name and rest.startswith("**/"):
            parts.append("(?:.*/)?")
            position += 3
        elif starts_a_name and rest == "**":
            parts.append(".+")
            position += 2
        elif rest[0] == "*":
            parts.append("[^/]*")
            position += len(rest) - len(rest.lstrip("*"))
        elif rest[0] == "?":
            parts.append("[^/]")
            position += 1
        elif (found := _CLASS.match(rest)) is not None:
            parts.append(f"(?!/)[{'^' if found[1] else ''}{_escape_class(found[2])}]")
            position += found.end()
        else:
            quoted = rest[0] == "\\" and len(rest) > 1
            parts.append(re.escape(rest[1] if quoted else rest[0]))
            position += 2 if quoted else 1
    return "".join(parts)


def _escape_class(characters: str) -> str:
    return re.sub(r"([\[\]&~|^]|\\(?!.))", r"\\\1", characters)


class Ignored:
    """The rules that hold in a folder: those of its own file, and those of the folders above it, up to the repository's."""

    def __init__(self, layers: tuple[tuple[int, tuple[Rule, ...]], ...]) -> None:
        self._layers = layers

    @classmethod
    def above(cls, folder: Path) -> Ignored:
        """Return the rules of the folders above `folder`, if it lies in a git repository."""
        folder = folder.absolute()
        if (folder / ".git").exists():
            return cls(())
        above = list(folder.parents)
        root = next((number for number, parent in enumerate(above) if (parent / ".git").exists()), None)
        if root is None:
            return cls(())
        found = [(len(parent.parts), read_rules(parent)) for parent in above[: root + 1]]
        return cls(tuple((depth, rules) for depth, rules in found if rules))

    def within(self, folder: Path) -> Ignored:
        """Return the rules that hold in `folder`, an absolute path, which lies in the folder of these rules."""
        rules = read_rules(folder)
        return Ignored(((len(folder.parts), rules), *self._layers)) if rules else self

    def __contains__(self, path: Path) -> bool:
        """Return whether an absolute path is ignored. Its name ends with `/` nowhere: `is_dir` is asked only if it matters."""
        for depth, rules in self._layers:
            name = "/".join(path.parts[depth:])
            for rule in reversed(rules):
                if rule.pattern.fullmatch(name) and (not rule.is_for_folders or path.is_dir()):
                    return not rule.is_exception
        return False
