"""Settings, as text and as JSON documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llamacli.render.columns import format_columns
from llamacli.render.text import escape_line
from llamacli.render.wrap import wrap
from llamacli.store.settings.settings import Problem, Setting


def format_settings(found: Sequence[Setting], *, origin: bool, width: int | None = None) -> str:
    """A line for each value in the syntax of a settings file, optionally with its origin."""
    if not found:
        return "\n".join(wrap("No settings: every option has its built-in default.", width)) + "\n"
    if not origin:
        return "".join(f"{line}\n" for one in found for line in _statement_lines(one, width))
    rows = [
        (_statement(one), one.origin.layer, escape_line(one.origin.where) if one.value is not None else "") for one in found
    ]
    return format_columns(rows, width=width)


def _statement_lines(one: Setting, width: int | None) -> list[str]:
    """Return the lines of a statement: a value stays on one, so that it can be copied."""
    return wrap(_statement(one), width, rest="#   ") if one.value is None else [_statement(one)]


def _statement(one: Setting) -> str:
    """The line of a settings file for a value; a comment for a default that depends on the circumstances."""
    return f"# {one.key}: {one.origin.where}" if one.value is None else f"{one.key} = {format_value(one.value)}"


def format_value(value: object) -> str:
    """A value in TOML syntax."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(format_value, value))}]"
    return json.dumps(str(value), ensure_ascii=False) if str(value).isprintable() else json.dumps(str(value))


def plain_value(value: object) -> str:
    """A value for a shell: text without quotes, a list with one line per element."""
    if isinstance(value, list | tuple):
        return "\n".join(map(plain_value, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def settings_document(found: Sequence[Setting]) -> dict[str, Any]:
    """The settings as JSON."""
    return {one.key: {"value": one.value, "origin": one.origin.layer, "where": one.origin.where} for one in found}


def format_problems(problems: Sequence[Problem], *, width: int | None = None) -> str:
    """One line per problem; on a terminal of `width` columns it is wrapped."""
    return "".join(f"{line}\n" for one in problems for line in wrap(escape_line(str(one.error())), width, rest="    "))
