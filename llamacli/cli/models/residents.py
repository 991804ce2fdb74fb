"""`llamacli models running` and `stop`: the engines that stay after a command (`--keep-alive`)."""

from __future__ import annotations

import json as json_format
from typing import Annotated

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import ModelNotFoundError, UsageError


@command(examples=(("See which engines are loaded.", "llamacli models running"),))
def running(app: AppContext, *, json: JsonOption = False) -> None:
    """List the engines that stay loaded.

    `run`, `chat` and `embed` leave them with --keep-alive, and use them when model and options are the same.
    """
    from llamacli.backend.child.process import resident
    from llamacli.render.residents import format_residents, residents_document

    found = resident.running()
    if json:
        app.console.write(json_format.dumps(residents_document(found), indent=2) + "\n")
    else:
        app.console.write(format_residents(found, width=app.console.line_width))


@command(examples=(("Free the memory of all.", "llamacli models stop --all"),))
def stop(
    app: AppContext,
    model: Annotated[tuple[str, ...], argument(metavar="MODEL", help="The name of the model's file, or its beginning.")] = (),
    *,
    every: Annotated[bool, option("--all", help="End all engines that stay loaded.", environment=False)] = False,
) -> None:
    """End engines that stay loaded.

    A program that uses one at the moment sees its death.
    """
    from llamacli.backend.child.process import resident

    if every == bool(model):
        raise UsageError("name a model, or use --all")
    found = resident.running()
    for name in model:
        if not any(one.matches(name) for one in found):
            raise ModelNotFoundError(f"no engine stays loaded with {name}", hint="`llamacli models running` lists them")
    for one in found:
        if every or any(map(one.matches, model)):
            resident.stop(one)
            app.console.note(f"ended the engine of {one.name or 'another version'}")
