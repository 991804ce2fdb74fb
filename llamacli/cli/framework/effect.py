"""Options that have an effect only beside another one, or only on a model that is loaded here.

An option that is given on the command line and has no effect is refused or warned about. The environment and the settings are
for many commands: what they set may have no effect on one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from llamacli.cli.framework.parameters import Option, source_of
from llamacli.errors import UsageError


def check_effect(ctx: typer.Context, parameters: Sequence[object], *, loads_with: str | None, changes_models: bool) -> None:
    """Check the options on a command line that has been parsed.

    An option needs one of its `needs` to be on, where the command has one of them. Those that say how a model is loaded
    (`loads`) need the option `loads_with`, if the command has such, and do nothing with --url, unless the command
    `changes_models` or searches an index, whose models may be loaded here.

    Raises:
        UsageError: if an option lacks another, or has no effect and --strict is given.
    """
    known = {one.name: one for one in parameters if isinstance(one, Option)}
    given = [one for one in known.values() if source_of(ctx, one.name) == "COMMANDLINE"]
    for one in given:
        needed = [known[name] for name in one.needs if name in known]
        if one.loads and loads_with is not None:
            needed.append(known[loads_with])
        if needed and not any(ctx.params[other.name] for other in needed):
            raise UsageError(f"{_flag(one, ctx)} needs {' or '.join(other.opts[0] for other in needed)}")
    if not ctx.params.get("url") or ctx.params.get("index") or changes_models:
        return
    if idle := [_flag(one, ctx) for one in given if one.loads]:
        message = f"{', '.join(idle)}: no effect with --url"
        if ctx.params.get("strict"):
            raise UsageError(message, hint="the server decides how its model is loaded")
        ctx.obj.console.warn(message)


def _flag(one: Option, ctx: Any) -> str:
    """The flag that gives an option its value: `--no-mmap` for False."""
    return one.secondary_opts[0] if one.secondary_opts and ctx.params[one.name] is False else one.opts[0]
