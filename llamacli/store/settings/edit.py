"""Change a settings file and keep its comments, its order and its links."""

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
from llamacli.store.files.progress import silent
from llamacli.store.settings.settings import SIZE_LIMIT, Place, Problem, SettingsFile, parse, scope_of, spelling

TEMPLATE = """\
# Settings of llamacli. `llamacli config check` looks for mistakes, `llamacli config show --origin` tells what counts.

[defaults]
# model = "demo"
# temp = 0.7

[aliases]
# small = "hf:Qwen/Qwen3-0.6B-GGUF:Q8_0"

# [profiles.careful]
# temp = 0
"""
"""What a new file holds when a person is about to edit it."""


def set_value(path: Path, place: Place, value: object, check: Callable[[SettingsFile], list[Problem]]) -> None:
    """Set the value at `place`. The file, its folder and its tables are made if there are none.

    `check` looks for problems in the result; with any the file is left as it is. Raises SettingsError.
    """
    set_values(path, place[:-1], {place[-1]: value}, check)


def set_values(path: Path, where: Place, values: Mapping[str, object], check: Callable[[SettingsFile], list[Problem]]) -> None:
    """Set several values of one table, all or none of them; others that stand there stay. As `set_value` otherwise."""

    def change(document: tomlkit.TOMLDocument) -> None:
        table: Any = document
        for depth, name in enumerate(where):
            if name not in table:
                table[name] = tomlkit.table(is_super_table=depth < len(where) - 1)
            table = table[name]
        for name, value in values.items():
            table[_spelled(table, name, (*where, name))] = value

    _rewrite(path, change, check)


def unset_value(path: Path, place: Place) -> bool:
    """Take away the value at `place`, and a profile's or model's table that is empty then. Returns whether it was there."""
    found = False

    def change(document: tomlkit.TOMLDocument) -> None:
        nonlocal found
        tables: list[Any] = [document]
        for name in place[:-1]:
            if name not in tables[-1]:
                return
            tables.append(tables[-1][name])
        name = _spelled(tables[-1], place[-1], place)
        if name not in tables[-1]:
            return
        found = True
        del tables[-1][name]
        for depth in range(len(place) - 2, 0, -1):
            if not tables[depth + 1]:
                del tables[depth][place[depth]]

    if path.exists():
        _rewrite(path, change, lambda _: [])
    return found


def create(path: Path) -> None:
    """Make a file with a commented example, unless there is one. Raises SettingsError."""
    if not path.exists():
        _write(path, TEMPLATE)


def _spelled(table: Any, name: str, place: Place) -> str:
    """How the key is spelled in the file already (`ctx_size`), or `name`. Aliases and table names are taken as they are."""
    if place[0] == "aliases":
        return name
    return next((str(key) for key in table if spelling(str(key)) == spelling(name)), name)


def _rewrite(
    path: Path, change: Callable[[tomlkit.TOMLDocument], None], check: Callable[[SettingsFile], list[Problem]]
) -> None:
    if path.is_dir():
        raise SettingsError(f"{path} is a directory")
    if path.exists() and not path.is_file():  # /dev/full would have no end, and /dev/null be replaced by a file
        raise SettingsError(f"{path} is no regular file")
    with exclusive(paths.cache_dir() / "settings", silent):
        try:
            if path.is_file() and path.stat().st_size > SIZE_LIMIT:
                raise SettingsError(f"{path} is larger than 1 MiB, which no settings file is")
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
    """Replace the file in one step. A link stays a link: people keep their settings in a repository elsewhere."""
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
