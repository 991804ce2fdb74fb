"""All problems of a settings file at once, for the user who is about to correct them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llamacli.store.settings.file import TABLES, Problem, Scope, SettingsFileError, parse_toml, read_bytes, shape_problems
from llamacli.store.settings.settings import Keys, problems


def examine(path: Path, scope: Scope, keys: Keys) -> list[Problem] | None:
    """All problems of a file, None if it does not exist. `keys` are those of all commands."""
    try:
        data = read_bytes(path)
        if data is None:
            return None
        file = parse_toml(data, path, scope)
    except SettingsFileError as error:
        return [error.problem]
    valid = replace(file, data=_well_shaped(file.data))
    return sorted([*shape_problems(file), *problems(valid, keys)], key=lambda one: one.line)


def _well_shaped(data: Mapping[str, Any]) -> dict[str, Any]:
    """The tables and values in which `shape_problems` finds no problem."""
    kept: dict[str, Any] = {}
    for name, table in data.items():
        if name not in TABLES or not isinstance(table, dict):
            continue
        if name == "aliases":
            kept[name] = {alias: target for alias, target in table.items() if isinstance(target, str) and target}
        elif name == "defaults":
            kept[name] = table
        else:
            kept[name] = {one: inner for one, inner in table.items() if isinstance(inner, dict)}
    return kept
