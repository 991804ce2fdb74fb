"""`llamacli models`: list, download, remove, locate and quantize models, and what is kept of their work."""

from __future__ import annotations

import json as json_format
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.framework.command import command, group
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption, OfflineOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.framework.settings import settings
from llamacli.cli.framework.terminal.question import ask, can_ask
from llamacli.cli.models.cache import cache
from llamacli.cli.models.discover import recommend, search, update
from llamacli.cli.models.imatrix import imatrix
from llamacli.cli.models.quantize import quantize
from llamacli.cli.models.references import MODEL_HELP
from llamacli.cli.models.residents import running, stop
from llamacli.errors import ModelError, UsageError
from llamacli.store.files import paths
from llamacli.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llamacli.store.files.progress import OnProgress

OptionalModel = Annotated[str | None, argument(metavar="MODEL", help=MODEL_HELP)]


@command(name="list", examples=(("List the models and their names.", "llamacli models list"),))
def list_(app: AppContext, *, json: JsonOption = False) -> None:
    """List the models on this machine.

    These are the models that llamacli downloaded, those in the shared cache of the Hugging Face hub, and those of LM Studio and
    ollama, which are used in place. A star marks the default model.
    """
    from llamacli.render.models import format_models, models_document
    from llamacli.store.models import inventory

    aliases = settings.current().aliases()
    found = inventory.stored(aliases)
    default = default_path(app)
    if json:
        write_json(app, models_document(found, default=default))
    else:
        app.console.write(format_models(found, default=default, width=app.console.line_width))


@command(
    examples=(
        ("Download the demo model.", "llamacli models pull demo"),
        ("Download one quantization of a repository.", "llamacli models pull hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"),
    )
)
def pull(
    app: AppContext,
    model: Annotated[tuple[str, ...], argument(metavar="MODEL", help=MODEL_HELP)] = (),
    *,
    offline: OfflineOption = False,
    force: Annotated[
        bool, option("--force", help="Download a model from an https:// address again, in case it changed.", environment=False)
    ] = False,
) -> None:
    """Download and verify models.

    The path of each model is written to standard output. Interrupted downloads are resumed. Of a repository of the
    Hugging Face hub the newest revision is downloaded, by default its Q4_K_M file or another that fits into memory, and with a
    model for images or sound its projector. For gated or private repositories set HF_TOKEN. Without MODEL, the one of
    `models recommend` is offered on a terminal.
    """
    from llamacli.store.models import projectors
    from llamacli.store.models import pull as store_pull

    if not model:
        model = offered(app)

    aliases = settings.current().aliases()
    for reference in model:
        with reporting(app) as on_progress:
            path = store_pull.pull(reference, aliases=aliases, offline=offline, force=force, on_progress=on_progress)
            projectors.find(path, reference, aliases=aliases, offline=offline, on_progress=on_progress)
        app.console.show(f"{path}\n")


@command(examples=(("Remove the demo model.", "llamacli models rm demo"),))
def rm(app: AppContext, model: Annotated[tuple[str, ...], argument(metavar="MODEL", help=MODEL_HELP)]) -> None:
    """Remove downloaded models.

    Your own files and the models of LM Studio and ollama are never removed. Models of the Hugging Face hub are removed from the
    cache that other programs share.
    """
    from llamacli.render.models import format_removed
    from llamacli.store.models import inventory

    aliases = settings.current().aliases()
    for reference in model:
        app.console.note(format_removed(reference, inventory.remove(reference, aliases)))


@command(examples=(("Pass a model to another program.", "llama-bench -m $(llamacli models path demo)"),))
def path(app: AppContext, model: OptionalModel = None) -> None:
    """Print the path of a model on this machine.

    Nothing is downloaded. Without a name it is the default model.
    """
    from llamacli.store.models import inventory

    aliases = settings.current().aliases()
    app.console.show(f"{inventory.locate(model if model is not None else default_reference(app), aliases)}\n")


@command(examples=(("Show the demo model.", "llamacli models show demo"),))
def show(app: AppContext, model: OptionalModel = None, *, json: JsonOption = False) -> None:
    """Show a summary of one model.

    The summary has its path, size, quantization and context length. `llamacli info` shows the complete metadata of the file.
    """
    from llamacli.gguf.analysis.summary import summarize
    from llamacli.gguf.model import read_files
    from llamacli.gguf.source import FileSource
    from llamacli.render.models import format_model, model_document
    from llamacli.store.models import catalogue, inventory

    aliases = settings.current().aliases()
    reference = model if model is not None else default_reference(app)
    file = inventory.locate(reference, aliases)
    with FileSource(file) as source:
        summary = summarize(read_files(file), source)
    home = next((one.home for one in inventory.stored(aliases) if one.path.resolve() == file.resolve()), None)
    name = reference or catalogue.DEMO.name
    if json:
        write_json(app, model_document(name, file, summary, home))
    else:
        app.console.write(format_model(name, file, summary, home, width=app.console.line_width))


@command(examples=(("Set the default model.", "llamacli models default hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"),))
def default(app: AppContext, model: OptionalModel = None) -> None:
    """Show or set the default model.

    The default model is stored in the settings; `llamacli config unset model` restores the demo model.
    """
    from llamacli.store.models import catalogue, inventory
    from llamacli.store.settings import edit as settings_edit
    from llamacli.store.settings.settings import problems

    if model is None:
        app.console.write(f"{default_reference(app) or catalogue.DEMO.name}\n")
        return
    model = inventory.absolute_reference(model, settings.current().aliases())
    file = paths.settings_file()
    settings_edit.set_value(file, ("defaults", "model"), model, lambda changed: problems(changed, settings.all_keys()))
    app.console.note(f"default model set to {model} in {file}")


def offered(app: AppContext) -> tuple[str, ...]:
    """The recommended model, if the user agrees; none otherwise. Raises UsageError without a terminal."""
    console = app.console
    if not can_ask(console):
        raise UsageError("MODEL is missing", hint="`llamacli models recommend` names one for this machine")
    from llamacli.cli.models.discover import suited
    from llamacli.render.model_search import format_reason
    from llamacli.store.models.quantization import memory_of_this_machine

    _, chosen, _ = suited("chat")
    if chosen is None:
        raise UsageError("no model of the catalogue fits into memory", hint="`llamacli models pull demo` is small")
    console.note(format_reason(chosen, memory=memory_of_this_machine()))
    try:
        reply = ask(console, f"download it ({format_bytes(chosen.entry.size)}, licence {chosen.entry.licence})? [Y/n] ")
    except EOFError:
        reply = "n"
    if reply.lower() not in ("", "y", "yes"):
        console.note("nothing downloaded")
        return ()
    return (chosen.entry.name,)


@contextmanager
def reporting(app: AppContext) -> Iterator[OnProgress]:
    """A progress bar as a callback for the store."""
    with app.downloading() as on_progress:
        yield on_progress


def default_reference(app: AppContext) -> str | None:
    """The default model from the environment or the settings; None is the demo model."""
    environ = app.console.environ
    return environ.get("LLAMACLI_MODEL") or settings.default_model(environ.get("LLAMACLI_PROFILE") or None)


def default_path(app: AppContext) -> Path | None:
    """The resolved path of the default model, or None if it is not on this machine."""
    from llamacli.store.models import inventory

    try:
        return inventory.locate(default_reference(app), settings.current().aliases()).resolve()
    except (ModelError, UsageError):
        return None


def write_json(app: AppContext, document: object) -> None:
    """Write a JSON document to standard output."""
    app.console.write(json_format.dumps(document, indent=2) + "\n")


models = group(
    "models", list_, search, recommend, pull, update, rm, path, show, default, quantize, imatrix, running, stop, cache,
    help="List, find, download, remove and quantize models.",
    examples=(("List the models.", "llamacli models list"), ("Download one.", "llamacli models pull hf:Qwen/Qwen3-4B-GGUF")),
)  # fmt: skip
