"""Changes to a settings file that preserve its comments, its order and symbolic links."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from llamacli.errors import SettingsError
from llamacli.store.files import paths
from llamacli.store.files.atomic import exclusive
from llamacli.store.files.progress import ignore_progress
from llamacli.store.settings.file import SIZE_LIMIT, Problem, SettingsFile, parse, scope_of
from llamacli.store.settings.keys import KeyPath, spelling

TEMPLATE = """\
# Settings of llamacli. `llamacli config check` finds mistakes, `llamacli config show --origin` shows the effective values.

[defaults]
# model = "demo"
# temp = 0.7

[aliases]
# small = "hf:Qwen/Qwen3-0.6B-GGUF:Q8_0"

# [profiles.careful]
# temp = 0
"""
"""The content of a new file for the user to edit."""


def set_value(path: Path, key_path: KeyPath, value: object, check: Callable[[SettingsFile], list[Problem]]) -> None:
    """Set the value at `key_path`. The file, its folder and its tables are created if necessary.

    `check` returns the problems of the result; if there are any, the file is not changed. Raises SettingsError.
    """
    set_values(path, key_path[:-1], {key_path[-1]: value}, check)


def set_values(
    path: Path, where: KeyPath, values: Mapping[str, object], check: Callable[[SettingsFile], list[Problem]]
) -> None:
    """Set several values of one table, all or none; its other values stay. See `set_value`."""

    def change(document: tomlkit.TOMLDocument) -> None:
        table: Any = document
        for depth, name in enumerate(where):
            if name not in table:
                table[name] = tomlkit.table(is_super_table=depth < len(where) - 1)
            table = table[name]
        for name, value in values.items():
            table[_spelled(table, name, (*where, name))] = value

    _rewrite(path, change, check)


def unset_value(path: Path, key_path: KeyPath) -> bool:
    """Remove the value at `key_path`, and the table of a profile or model if it becomes empty. Return whether it was set."""
    found = False

    def change(document: tomlkit.TOMLDocument) -> None:
        nonlocal found
        tables: list[Any] = [document]
        for name in key_path[:-1]:
            if name not in tables[-1]:
                return
            tables.append(tables[-1][name])
        name = _spelled(tables[-1], key_path[-1], key_path)
        if name not in tables[-1]:
            return
        found = True
        del tables[-1][name]
        for depth in range(len(key_path) - 2, 0, -1):
            if not tables[depth + 1]:
                del tables[depth][key_path[depth]]

    if path.exists():
        _rewrite(path, change, lambda _: [])
    return found


def create(path: Path) -> None:
    """Create the file with a commented example unless it exists. Raises SettingsError."""
    if not path.exists():
        _write(path, TEMPLATE)


def _spelled(table: Any, name: str, key_path: KeyPath) -> str:
    """The spelling of the key in the file (`ctx_size`), else `name`. Aliases and table names have one spelling."""
    if key_path[0] == "aliases":
        return name
    return next((str(key) for key in table if spelling(str(key)) == spelling(name)), name)


def _rewrite(
    path: Path, change: Callable[[tomlkit.TOMLDocument], None], check: Callable[[SettingsFile], list[Problem]]
) -> None:
    if path.is_dir():
        raise SettingsError(f"{path} is a directory")
    if path.exists() and not path.is_file():  # /dev/full never ends, and /dev/null would be replaced by a file
        raise SettingsError(f"{path} is not a regular file")
    with exclusive(paths.cache_dir() / "settings", ignore_progress):
        try:
            if path.is_file() and path.stat().st_size > SIZE_LIMIT:
                raise SettingsError(f"{path} is larger than 1 MiB, the limit of settings files")
            text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
        if text:
            parse(text.encode(), path, "user")
        try:
            document = tomlkit.parse(text)
            change(document)
            result = tomlkit.dumps(document)
        except TOMLKitError as error:
            raise SettingsError(f"cannot change {path}: {error}", hint="change it with `llamacli config edit`") from error
        for problem in check(parse(result.encode(), path, scope_of(path))):
            raise problem.error()
        if result != text:
            _write(path, result)


def _write(path: Path, text: str) -> None:
    """Replace the file atomically. A symbolic link stays one, for settings kept in a repository."""
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        temporary.replace(target)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
