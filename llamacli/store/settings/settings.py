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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llamacli.errors import LlamacliError, SettingsError
from llamacli.store.models.references import expand_alias, is_path
from llamacli.store.settings.file import Problem, Scope, SettingsFile, SettingsFileError, parse, read, scope_of
from llamacli.store.settings.keys import Key, KeyPath, Keys, Origin, Setting, keys_by_spelling, spelling
from llamacli.values import dataclass

__all__ = [
    "Key", "KeyPath", "Keys", "Origin", "Problem", "Scope", "Setting", "Settings", "SettingsFile", "SettingsFileError",
    "keys_by_spelling", "load", "parse", "problems", "read", "scope_of", "spelling",
]  # fmt: skip


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
        is_option: Callable[[str], bool] = lambda _: False,
    ) -> dict[str, Setting]:
        """The values in the files, by key name.

        `keys` are those of the running command. Options of other commands, which `is_option` accepts, are ignored; the rest
        is checked against `every`, which may be slow. `models` are the names of the model. Raises SettingsError for the first
        mistake.
        """
        found: dict[str, Setting] = {}
        for key_path in (*self._profile_path(profile), *(("models", name) for name in models), ("defaults",)):
            for file in self.files:
                table = file.table(key_path) or {}
                own = {name: value for name, value in table.items() if spelling(name) in keys or not is_option(name)}
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


def load(user: Path, project: Path | None) -> Settings:
    """Read the files that exist. Raises SettingsError if one is not valid TOML or has tables of the wrong shape."""
    scopes: list[tuple[Path | None, Scope]] = [(project, "project"), (user, "user")]
    return Settings(tuple(file for path, scope in scopes if path and (file := read(path, scope))))


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
        except LlamacliError:
            raise
        except ValueError as error:
            raise file.problem((*key_path, name), f"{name}: {error}").error() from None
        if key is not None:
            found[key.name] = converted
    return found


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
