"""Settings files: what they may hold, and which value wins.

    [defaults]                    # options of every command that has them, by their long names
    model = "qwen"
    temp = 0.7

    [aliases]                     # names for models
    qwen = "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"

    [models.qwen]                 # options for one model, under the name it is called by
    ctx-size = 16384

    [profiles.careful]            # options that `--profile careful` turns on
    temp = 0

There is a user file and, in a project's folder, `.llamacli.toml`. The strongest comes first: the profile, what is said of the
model, the defaults; and in each the project's file before the user's. The command line and the environment come before all of
them, what a model's metadata recommends and the built-in defaults after.

The store does not know the options: whoever reads settings passes the `Key`s that are valid.
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
from llamacli.store.settings.keys import Key, Keys, Origin, Place, Setting, keys_by_spelling, line_of, spelling

__all__ = [
    "Key", "Keys", "Origin", "Place", "PlacedError", "Problem", "Scope", "Setting", "Settings", "SettingsFile",
    "keys_by_spelling", "load", "parse", "problems", "read", "spelling",
]  # fmt: skip

TABLES = ("defaults", "aliases", "models", "profiles")
SIZE_LIMIT = 1 << 20

Scope = Literal["project", "user"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a settings file. `line` counts from 1, 0 if unknown."""

    path: Path
    line: int
    message: str
    hint: str | None = None

    def error(self) -> PlacedError:
        """The same as an exception."""
        return PlacedError(self)


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file as it was read. Its tables have the right shape; their keys and values have not been looked at."""

    path: Path
    scope: Scope
    text: str = field(repr=False)
    data: Mapping[str, Any]

    def tables(self) -> Iterator[tuple[Place, Mapping[str, Any]]]:
        """Every table that holds options."""
        if "defaults" in self.data:
            yield ("defaults",), self.data["defaults"]
        for kind in ("models", "profiles"):
            for name, table in self.data.get(kind, {}).items():
                yield (kind, name), table

    def table(self, place: Place) -> Mapping[str, Any] | None:
        """One table that holds options."""
        return next((table for other, table in self.tables() if other == place), None)

    def problem(self, place: Place, message: str, hint: str | None = None) -> Problem:
        """A problem with what stands at `place`."""
        return Problem(self.path, line_of(self.text, place), message, hint)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings files that count, the strongest first."""

    files: tuple[SettingsFile, ...] = ()

    def aliases(self) -> dict[str, str]:
        """Names for models. Paths count from the folder of their file."""
        merged: dict[str, str] = {}
        for file in reversed(self.files):
            merged |= {name: _placed(target, file) for name, target in file.data.get("aliases", {}).items()}
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
        """What the files say, by the keys' names.

        `keys` are those of the command that runs. Others are passed over if `elsewhere` knows them, or else checked against
        `every`, which may take its time. `models` are the names of the model in question. Raises SettingsError for the first
        thing that is wrong.
        """
        found: dict[str, Setting] = {}
        for place in (*self._profile_place(profile), *(("models", name) for name in models), ("defaults",)):
            for file in self.files:
                table = file.table(place) or {}
                own = {name: value for name, value in table.items() if spelling(name) in keys or not elsewhere(name)}
                for key, value in checked(file, place, own, keys, every).items():
                    where = f"{file.path} [{'.'.join(place)}]"
                    found.setdefault(key, Setting(key, value, Origin(file.scope, where)))
        return found

    def stated(self, name: str, *, profile: str | None = None) -> object:
        """What the profile or the defaults say about one key, unchecked and under this spelling only; None if nothing."""
        for place in (*self._profile_place(profile), ("defaults",)):
            for file in self.files:
                value = (file.table(place) or {}).get(name)
                if value is not None:
                    return _placed(value, file)
        return None

    def _profile_place(self, profile: str | None) -> list[Place]:
        if profile is None:
            return []
        if profile not in self.profiles():
            near = difflib.get_close_matches(profile, self.profiles(), n=1)
            there = f"there are {', '.join(self.profiles())}" if self.profiles() else "the settings have no profiles"
            raise SettingsError(f"there is no profile {profile}", hint=f"did you mean {near[0]}?" if near else there)
        return [("profiles", profile)]


def scope_of(path: Path) -> Scope:
    """Whose settings a file holds, by its name."""
    return "project" if path.name == paths.PROJECT_SETTINGS_NAME else "user"


def load(user: Path, project: Path | None) -> Settings:
    """Read the files that exist. Raises SettingsError if one is not TOML or has tables of the wrong shape."""
    scopes: list[tuple[Path | None, Scope]] = [(project, "project"), (user, "user")]
    return Settings(tuple(file for path, scope in scopes if path and (file := read(path, scope))))


def read(path: Path, scope: Scope) -> SettingsFile | None:
    """Read one file, None if it does not exist. Raises SettingsError."""
    data = read_bytes(path)
    return None if data is None else parse(data, path, scope)


def parse(data: bytes, path: Path, scope: Scope) -> SettingsFile:
    """Make sense of a file's bytes. Raises SettingsError."""
    file = parse_toml(data, path, scope)
    for problem in wrong_shapes(file):
        raise problem.error()
    return file


def read_bytes(path: Path) -> bytes | None:
    """What is in a settings file, at most a little more than it may hold; None if there is none. Raises SettingsError."""
    try:
        if not path.is_file() and not path.is_dir():  # nothing, or /dev/null
            return None
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise Problem(path, 0, f"cannot be read: {error.strerror}").error() from error


def parse_toml(data: bytes, path: Path, scope: Scope) -> SettingsFile:
    """As `parse`, but its tables may have any shape. Raises SettingsError."""
    import tomllib  # here because most runs have no settings file

    if len(data) > SIZE_LIMIT:
        raise Problem(path, 0, "larger than 1 MiB, which no settings file is").error()
    try:
        text = data.decode("utf-8-sig")
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start:,}"
        raise Problem(path, 0, message).error() from None
    except tomllib.TOMLDecodeError as error:
        message, _, place = str(error).partition(" (at ")
        line = re.search(r"line (\d+)", place)
        number = int(line[1]) if line else text.count("\n") + 1
        hint = "a text stands in quotes" if message == "Invalid value" else None
        raise Problem(path, number, message[:1].lower() + message[1:], hint).error() from None
    except RecursionError:
        raise Problem(path, 0, "nested too deeply").error() from None
    return SettingsFile(path, scope, text, document)


def problems(file: SettingsFile, keys: Keys) -> list[Problem]:
    """Everything that is wrong with the keys and values of a file. `keys` are those of all commands."""
    found = []
    for place, table in file.tables():
        for name, value in table.items():
            try:
                checked(file, place, {name: value}, keys, lambda: keys)
            except PlacedError as error:
                found.append(error.problem)
        found += _twice(file, place, table, keys)
    aliases = file.data.get("aliases", {})
    for name in aliases:
        try:
            expand_alias(name, aliases)
        except SettingsError as error:
            found.append(file.problem(("aliases", name), error.message))
    return sorted(found, key=lambda one: one.line)


def checked(
    file: SettingsFile, place: Place, table: Mapping[str, Any], keys: Keys, every: Callable[[], Keys]
) -> dict[str, object]:
    """The values of a table by the keys' names, but for keys that only other commands have. Raises SettingsError."""
    found: dict[str, object] = {}
    for name, value in table.items():
        key = keys.get(spelling(name))
        known = key or every().get(spelling(name))
        if known is None:
            raise file.problem((*place, name), f"there is no option {name}", _near(name, every())).error()
        if known.personal and file.scope == "project":
            message = f"{name} has no place in a project's settings: it says what programs may run here"
            raise file.problem((*place, name), message, "put it into your own file, `llamacli config path` names it").error()
        if known.name in found:
            raise file.problem((*place, name), f"{name} is set twice in [{'.'.join(place)}]").error()
        try:
            converted = known.convert(_placed(value, file) if known.path else value)
        except ValueError as error:
            raise file.problem((*place, name), f"{name}: {error}").error() from None
        if key is not None:
            found[key.name] = converted
    return found


class PlacedError(SettingsError):
    """A SettingsError about one place of a file. `problem` tells which."""

    def __init__(self, problem: Problem) -> None:
        place = f"{problem.path}:{problem.line}" if problem.line else str(problem.path)
        super().__init__(f"{place}: {problem.message}", hint=problem.hint)
        self.problem = problem


def wrong_shapes(file: SettingsFile) -> Iterator[Problem]:
    """What stands where a table belongs, or is a table that has no meaning."""
    for name, table in file.data.items():
        if name not in TABLES:
            near = difflib.get_close_matches(name, TABLES, n=1)
            hint = f"did you mean [{near[0]}]?" if near else f"options stand under one of [{'], ['.join(TABLES)}]"
            yield file.problem((name,), f"{name} has no meaning here", hint)
        elif not isinstance(table, dict):
            yield file.problem((name,), f"{name} must be a table", f"write [{name}]")
        elif name == "aliases":
            for alias, target in table.items():
                if not isinstance(target, str) or not target:
                    yield file.problem((name, alias), f"the alias {alias} must be a text: what the model is")
        elif name != "defaults":
            for one, inner in table.items():
                if not isinstance(inner, dict):
                    yield file.problem((name, one), f"{one} must be a table", f"write [{name}.NAME] above it")


def _twice(file: SettingsFile, place: Place, table: Mapping[str, Any], keys: Keys) -> Iterator[Problem]:
    seen: set[str] = set()
    for name in table:
        key = keys.get(spelling(name))
        if key and key.name in seen:
            yield file.problem((*place, name), f"{name} is set twice in [{'.'.join(place)}]")
        if key:
            seen.add(key.name)


def _near(name: str, keys: Keys) -> str | None:
    near = difflib.get_close_matches(spelling(name), list(keys), n=1)
    return f"did you mean {near[0]}?" if near else "`llamacli config show --all` lists them"


def _placed(value: Any, file: SettingsFile) -> Any:
    """A relative path counts from the folder of the file that names it. Lists are taken apart."""
    if isinstance(value, list):
        return [_placed(one, file) for one in value]
    if not isinstance(value, str) or not is_path(value):
        return value
    return str(file.path.absolute().parent / Path(value).expanduser())
