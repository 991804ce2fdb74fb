"""A settings file: its tables, and the problems of its syntax and shape."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from llamacli.errors import SettingsError
from llamacli.store.files import paths
from llamacli.store.settings.keys import KeyPath, line_of
from llamacli.values import dataclass

TABLES = ("defaults", "aliases", "models", "profiles")
SIZE_LIMIT = 1 << 20

Scope = Literal["project", "user"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in a settings file. `line` counts from 1; 0 means unknown."""

    path: Path
    line: int
    message: str
    hint: str | None = None

    def error(self) -> SettingsFileError:
        """The same as an exception."""
        return SettingsFileError(self)


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A parsed settings file. The shapes of its tables are validated, their keys and values are not."""

    path: Path
    scope: Scope
    text: str = field(repr=False)
    data: Mapping[str, Any]

    def tables(self) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
        """All tables of options."""
        if "defaults" in self.data:
            yield ("defaults",), self.data["defaults"]
        for kind in ("models", "profiles"):
            for name, table in self.data.get(kind, {}).items():
                yield (kind, name), table

    def table(self, key_path: KeyPath) -> Mapping[str, Any] | None:
        """One table of options, or None."""
        return next((table for other, table in self.tables() if other == key_path), None)

    def problem(self, key_path: KeyPath, message: str, hint: str | None = None) -> Problem:
        """A problem located at `key_path`."""
        return Problem(self.path, line_of(self.text, key_path), message, hint)


def scope_of(path: Path) -> Scope:
    """The scope of a file, by its name."""
    return "project" if path.name == paths.PROJECT_SETTINGS_NAME else "user"


def read(path: Path, scope: Scope) -> SettingsFile | None:
    """Read one file, None if it does not exist. Raises SettingsError."""
    data = read_bytes(path)
    return None if data is None else parse(data, path, scope)


def parse(data: bytes, path: Path, scope: Scope) -> SettingsFile:
    """Parse a file's bytes. Raises SettingsError."""
    file = parse_toml(data, path, scope)
    for problem in shape_problems(file):
        raise problem.error()
    return file


def read_bytes(path: Path) -> bytes | None:
    """The bytes of a settings file, up to just over SIZE_LIMIT; None if it does not exist. Raises SettingsError."""
    try:
        if not path.is_file() and not path.is_dir():  # missing, or /dev/null
            return None
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise Problem(path, 0, f"cannot be read: {error.strerror}").error() from error


def parse_toml(data: bytes, path: Path, scope: Scope) -> SettingsFile:
    """Parse a file's bytes without checking the shapes of its tables. Raises SettingsError."""
    import tomllib  # deferred: most runs have no settings file

    if len(data) > SIZE_LIMIT:
        raise Problem(path, 0, "larger than 1 MiB, the limit of settings files").error()
    try:
        text = data.decode("utf-8-sig")
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start:,}"
        raise Problem(path, 0, message).error() from None
    except tomllib.TOMLDecodeError as error:
        message, _, key_path = str(error).partition(" (at ")
        line = re.search(r"line (\d+)", key_path)
        number = int(line[1]) if line else text.count("\n") + 1
        hint = "strings must be in quotes" if message == "Invalid value" else None
        raise Problem(path, number, message[:1].lower() + message[1:], hint).error() from None
    except RecursionError:
        raise Problem(path, 0, "nested too deeply").error() from None
    return SettingsFile(path, scope, text, document)


class SettingsFileError(SettingsError):
    """A SettingsError about a `problem` in a file."""

    def __init__(self, problem: Problem) -> None:
        location = f"{problem.path}:{problem.line}" if problem.line else str(problem.path)
        super().__init__(f"{location}: {problem.message}", hint=problem.hint)
        self.problem = problem


def shape_problems(file: SettingsFile) -> Iterator[Problem]:
    """The unknown tables, and the values that should be tables or strings."""
    for name, table in file.data.items():
        if name not in TABLES:
            near = difflib.get_close_matches(name, TABLES, n=1)
            hint = f"did you mean [{near[0]}]?" if near else f"options belong in one of [{'], ['.join(TABLES)}]"
            yield file.problem((name,), f"unknown table or key {name}", hint)
        elif not isinstance(table, dict):
            yield file.problem((name,), f"{name} must be a table", f"write [{name}]")
        elif name == "aliases":
            for alias, target in table.items():
                if not isinstance(target, str) or not target:
                    yield file.problem((name, alias), f"the alias {alias} must be a string that names a model")
        elif name != "defaults":
            for one, inner in table.items():
                if not isinstance(inner, dict):
                    yield file.problem((name, one), f"{one} must be a table", f"write [{name}.NAME] above it")
