"""Settings files: their format, and the precedence of their values.

    [defaults]                    # options of every command that has them, by their long names
    model = "qwen"
    temp = 0.7

    [aliases]                     # names for models
    qwen = "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"

    [models.qwen]                 # options for one model, under the name it is called by
    ctx-size = 16384

    [profiles.careful]            # options that `--profile careful` turns on
    temp = 0

There is a user's file and, in a project's folder, `.llamacli.toml`. In order of precedence: the profile, the table of the
model, the defaults; within each the project's file before the user's. The command line and the environment override all of
them; the sampling recommended by a model's metadata and the built-in defaults come last.

The store does not know the options: the caller passes the valid `Key`s.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llamacli.errors import SettingsError
from llamacli.store.files import paths
from llamacli.store.models.references import expand_alias, is_path
from llamacli.store.settings.keys import Key, KeyPath, Keys, Origin, Setting, keys_by_spelling, line_of, spelling

__all__ = [
    "Key",
    "KeyPath",
    "Keys",
    "Origin",
    "Problem",
    "Scope",
    "Setting",
    "Settings",
    "SettingsFile",
    "SettingsFileError",
    "keys_by_spelling",
    "load",
    "parse",
    "problems",
    "read",
    "spelling",
]  # fmt: skip

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


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings files in effect, in order of precedence."""

    files: tuple[SettingsFile, ...] = ()

    def aliases(self) -> dict[str, str]:
        """Names of models and their targets. Relative paths are resolved against the folder of their file."""
        merged: dict[str, str] = {}
        for file in reversed(self.files):
            merged |= {name: _resolve_paths(target, file) for name, target in file.data.get("aliases", {}).items()}
        return merged

    def profiles(self) -> list[str]:
        """The names of all profiles."""
        return sorted({name for file in self.files for name in file.data.get("profiles", {})})

    def values(
        self,
        keys: Keys,
        *,
        every: Callable[[], Keys],
        profile: str | None,
        models: Sequence[str],
        elsewhere: Callable[[str], bool] = lambda _: False,
    ) -> dict[str, Setting]:
        """The values in the files, by key name.

        `keys` are those of the running command. Other keys are ignored if `elsewhere` accepts them, else checked against
        `every`, which may be slow. `models` are the names of the model. Raises SettingsError for the first mistake.
        """
        found: dict[str, Setting] = {}
        for key_path in (*self._profile_path(profile), *(("models", name) for name in models), ("defaults",)):
            for file in self.files:
                table = file.table(key_path) or {}
                own = {name: value for name, value in table.items() if spelling(name) in keys or not elsewhere(name)}
                for key, value in validated(file, key_path, own, keys, every).items():
                    where = f"{file.path} [{'.'.join(key_path)}]"
                    found.setdefault(key, Setting(key, value, Origin(file.scope, where)))
        return found

    def stated(self, name: str, *, profile: str | None = None) -> object:
        """The unvalidated value of one key in the profile or the defaults, under this spelling only; None if unset."""
        for key_path in (*self._profile_path(profile), ("defaults",)):
            for file in self.files:
                value = (file.table(key_path) or {}).get(name)
                if value is not None:
                    return _resolve_paths(value, file)
        return None

    def _profile_path(self, profile: str | None) -> list[KeyPath]:
        if profile is None:
            return []
        if profile not in self.profiles():
            near = difflib.get_close_matches(profile, self.profiles(), n=1)
            known = f"profiles: {', '.join(self.profiles())}" if self.profiles() else "the settings define no profiles"
            raise SettingsError(f"unknown profile {profile}", hint=f"did you mean {near[0]}?" if near else known)
        return [("profiles", profile)]


def scope_of(path: Path) -> Scope:
    """The scope of a file, by its name."""
    return "project" if path.name == paths.PROJECT_SETTINGS_NAME else "user"


def load(user: Path, project: Path | None) -> Settings:
    """Read the files that exist. Raises SettingsError if one is not valid TOML or has tables of the wrong shape."""
    scopes: list[tuple[Path | None, Scope]] = [(project, "project"), (user, "user")]
    return Settings(tuple(file for path, scope in scopes if path and (file := read(path, scope))))


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


def problems(file: SettingsFile, keys: Keys) -> list[Problem]:
    """All problems of the keys and values of a file. `keys` are those of all commands."""
    found = []
    for key_path, table in file.tables():
        for name, value in table.items():
            try:
                validated(file, key_path, {name: value}, keys, lambda: keys)
            except SettingsFileError as error:
                found.append(error.problem)
        found += _duplicates(file, key_path, table, keys)
    aliases = file.data.get("aliases", {})
    for name in aliases:
        try:
            expand_alias(name, aliases)
        except SettingsError as error:
            found.append(file.problem(("aliases", name), error.message))
    return sorted(found, key=lambda one: one.line)


def validated(
    file: SettingsFile, key_path: KeyPath, table: Mapping[str, Any], keys: Keys, every: Callable[[], Keys]
) -> dict[str, object]:
    """The values of a table by key name, without keys of other commands only. Raises SettingsError."""
    found: dict[str, object] = {}
    for name, value in table.items():
        key = keys.get(spelling(name))
        known = key or every().get(spelling(name))
        if known is None:
            raise file.problem((*key_path, name), f"unknown option {name}", _near(name, every())).error()
        if known.personal and file.scope == "project":
            message = f"{name} cannot be set in a project's settings, because it runs programs"
            raise file.problem((*key_path, name), message, "set it in your own file, see `llamacli config path`").error()
        if known.name in found:
            raise file.problem((*key_path, name), f"{name} is set twice in [{'.'.join(key_path)}]").error()
        try:
            converted = known.convert(_resolve_paths(value, file) if known.path else value)
        except ValueError as error:
            raise file.problem((*key_path, name), f"{name}: {error}").error() from None
        if key is not None:
            found[key.name] = converted
    return found


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


def _duplicates(file: SettingsFile, key_path: KeyPath, table: Mapping[str, Any], keys: Keys) -> Iterator[Problem]:
    seen: set[str] = set()
    for name in table:
        key = keys.get(spelling(name))
        if key and key.name in seen:
            yield file.problem((*key_path, name), f"{name} is set twice in [{'.'.join(key_path)}]")
        if key:
            seen.add(key.name)


def _near(name: str, keys: Keys) -> str | None:
    near = difflib.get_close_matches(spelling(name), list(keys), n=1)
    return f"did you mean {near[0]}?" if near else "`llamacli config show --all` lists all options"


def _resolve_paths(value: Any, file: SettingsFile) -> Any:
    """Resolve relative paths, also those in a list, against the folder of the settings file."""
    if isinstance(value, list):
        return [_resolve_paths(one, file) for one in value]
    if not isinstance(value, str) or not is_path(value):
        return value
    return str(file.path.absolute().parent / Path(value).expanduser())
