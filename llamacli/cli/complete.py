"""`llamacli --complete KIND [PREFIX [WORD]]`: names for the completions of the shells.

Write the names that begin with PREFIX, one a line, each followed by a tab and a description. WORD is the word before: the key
whose values are completed. A shell calls this at every press of the tab key, so that nothing unnecessary is imported; errors,
such as broken settings, are silent.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llamacli.errors import LlamacliError
from llamacli.units import format_bytes

Candidate = tuple[str, str]
"""A name and its description."""


_MOST_RUNS = 50


def print_candidates(arguments: list[str]) -> int:
    """Write the names of a kind and return the exit status: 2 for an unknown kind, else 0."""
    kind, prefix, before = [*arguments, "", "", ""][:3]
    kinds: dict[str, Callable[[], Iterator[Candidate]]] = {
        "models": models, "fetched": _fetched, "profiles": _profiles, "keys": _keys, "sessions": _sessions, "runs": _runs,
        "templates": _templates, "values": lambda: _values(before),
    }  # fmt: skip
    find = kinds.get(kind)
    if find is None:
        return 2
    lines: dict[str, str] = {}
    try:
        for name, description in find():
            if name.startswith(prefix) and name.isprintable():
                lines.setdefault(name, "".join(char for char in description if char.isprintable()))
    except (LlamacliError, OSError):
        pass  # the names found so far are better than none
    data = "".join(f"{name}\t{description}\n" for name, description in lines.items())
    try:
        os.write(1, data.encode("utf-8", "surrogateescape"))
    except OSError:
        return 1
    return 0


def models() -> Iterator[Candidate]:
    """Aliases, models on this machine, and models of the catalogue."""
    for alias, target in _tables("aliases"):
        yield alias, str(target)
    from llamacli.store.models import catalogue, hub_catalogue, inventory

    stored = inventory.stored({})
    for one in stored:
        yield one.reference, f"{format_bytes(one.size)}, {one.home}"
    for entry in catalogue.ENTRIES:
        for name in (entry.name, *entry.aliases):
            yield name, entry.description
    for named in hub_catalogue.entries():
        yield named.name, f"{format_bytes(named.size)}, {named.description}"


def _fetched() -> Iterator[Candidate]:
    """Models that llamacli may remove, which are not those of other programs."""
    from llamacli.store.models import inventory

    for one in inventory.stored({}):
        if one.home in ("llamacli", "hub", "web"):
            yield one.reference, f"{format_bytes(one.size)}, {one.home}"


def _values(key: str) -> Iterator[Candidate]:
    """Values of a key of the settings."""
    table, _, rest = key.partition(".")
    name = rest.rpartition(".")[2] if table in ("profiles", "models") else rest if table == "defaults" else key
    if table == "aliases" or name == "model":
        yield from models()
    elif name == "profile":
        yield from _profiles()
    else:
        from llamacli.cli.framework.settings.settings import all_options, key_of  # imports every command
        from llamacli.store.settings.settings import spelling

        known = (one for one in all_options() if spelling(name) in (key_of(one).name, *key_of(one).spellings))
        option = next(known, None)
        if option is not None:
            words = (option.metavar or option.kind.metavar or "").split("|")
            switch = ("true", "false") if option.is_flag else ()
            for word in (*switch, *(option.kind.choices or (word for word in words if word.islower()))):
                yield word, ""


def _profiles() -> Iterator[Candidate]:
    for name, options in _tables("profiles"):
        yield name, " ".join(f"{key}={value}" for key, value in options.items()) if isinstance(options, Mapping) else ""


def _sessions() -> Iterator[Candidate]:
    """Saved conversations, by name or number."""
    from llamacli.store.sessions import schema
    from llamacli.store.sessions import store as sessions

    if schema.database_path().exists():
        with contextlib.closing(sessions.SessionStore()) as store:
            for session in store.sessions():
                yield session.label, session.title


def _runs() -> Iterator[Candidate]:
    """Stored benchmarks, the latest first."""
    from llamacli.store.benchmarks import history

    if history.database_path().exists():
        with contextlib.closing(history.History()) as opened:
            runs = opened.runs(limit=_MOST_RUNS)
        if runs:
            yield "last", "the last run"
        for run in runs:
            results = ", ".join(f"{test} {speed:.1f}" for test, speed in run.results if speed is not None)
            yield str(run.id), f"{', '.join(run.models)}: {results}"


def _templates() -> Iterator[Candidate]:
    """Prompt templates."""
    from llamacli.store.templates import library

    for found in library.templates():
        description: str = found.scope
        with contextlib.suppress(LlamacliError):
            description = library.read(found).description or description
        yield found.name, description


def _keys() -> Iterator[Candidate]:
    """Keys of the tables in the settings. The scripts know the options themselves."""
    for alias, target in _tables("aliases"):
        yield f"aliases.{alias}", str(target)
    for table in ("profiles", "models"):
        for name, options in _tables(table):
            for key, value in options.items() if isinstance(options, Mapping) else ():
                yield f"{table}.{name}.{key}", str(value)


def _tables(name: str) -> Iterator[tuple[str, Any]]:
    """The entries of a table of the settings, the project's and the user's. A broken file counts as empty."""
    from llamacli.store.files import paths
    from llamacli.store.settings import settings

    files: list[tuple[Path | None, settings.Scope]] = [
        (paths.project_settings_file(), "project"),
        (paths.settings_file(), "user"),
    ]
    for path, scope in files:
        if path is not None:
            with contextlib.suppress(LlamacliError):
                file = settings.read(path, scope)
                yield from (file.data.get(name, {}) if file is not None else {}).items()
