"""`llamacli models cache`: the evaluated prompts on disk."""

from __future__ import annotations

import json as json_format
from typing import Annotated, Literal

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import LlamacliError, ModelNotFoundError, UsageError
from llamacli.units import format_bytes


@command(
    examples=(
        ("See for which models prompts are kept.", "llamacli models cache"),
        ("Remove all of them.", "llamacli models cache clear"),
        ("Remove those of one model.", "llamacli models cache clear --of model.gguf"),
    )
)
def cache(
    app: AppContext,
    action: Annotated[
        Literal["list", "size", "clear"], argument(metavar="list|size|clear", help="What to do: list models, or print bytes.")
    ] = "list",
    *,
    of: Annotated[
        str | None,
        option("--of", metavar="FILE", help="Name of the model's file whose prompts are removed.", environment=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List or remove evaluated prompts.

    `run`, `chat` and `serve` keep the prompts that they evaluate in the user's cache folder, readable by this user only. They
    are tokens and the model's numbers for them, from which the prompts can be read. `--no-prompt-cache` keeps none;
    `llamacli config set prompt-cache false` makes that the default.
    """
    from llamacli.render.prompt_cache import format_kept, kept_document
    from llamacli.store.prompt_cache.cache import PromptCache

    if of is not None and action != "clear":
        raise UsageError("--of needs the action clear")
    if json and action != "list":
        raise UsageError("--json needs the action list")
    store = PromptCache()
    if action == "size":
        app.console.write(f"{store.size()}\n")
    elif action == "list":
        kept = store.kept()
        if json:
            app.console.write(json_format.dumps(kept_document(kept, store.folder), indent=2) + "\n")
        else:
            app.console.write(format_kept(kept, width=app.console.line_width))
    else:
        if of is not None and all(one.model != of for one in store.kept()):
            raise ModelNotFoundError(f"no prompts of {of} are kept", hint="`llamacli models cache` lists the models")
        try:
            removed = store.clear(of)
        except OSError as error:
            raise LlamacliError(f"cannot remove the prompts in {store.folder}: {error.strerror}") from error
        app.console.note(f"removed {format_bytes(removed)} of evaluated prompts")
