"""`llamacli models search`, `recommend` and `update`: which model to download."""

from __future__ import annotations

import dataclasses
import json as json_format
from typing import TYPE_CHECKING, Annotated, Literal

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import DownloadError, UsageError
from llamacli.store.files import paths
from llamacli.units import counted, format_bytes

if TYPE_CHECKING:
    from llamacli.store.models.hub_catalogue import Purpose
    from llamacli.store.models.recommend import Suited

_MOST_THREADS = 4

PurposeOption = Annotated[
    Literal["chat", "code", "embed", "vision"], option("--for", help="What the model is for.", environment=False)
]


@command(
    examples=(
        ("Find models by name.", "llamacli models search qwen3 coder"),
        ("Take the names for a script.", "llamacli models search gemma --json | jq -r '.[].repository'"),
    )
)
def search(
    app: AppContext,
    words: Annotated[tuple[str, ...], argument(metavar="WORD", help="A word of the model's name.")],
    *,
    limit: Annotated[int, option("--limit", metavar="N", help="Maximum number of models.", environment=False)] = 10,
    json: JsonOption = False,
) -> None:
    """Find GGUF models on the Hugging Face hub, the last updated first.

    SIZE is that of the quantization that `models pull` would choose, and FITS whether it fits into the memory of this machine.
    """
    from llamacli.render.model_search import format_found
    from llamacli.store.models import hub_search
    from llamacli.store.models.quantization import memory_of_this_machine

    if not 1 <= limit <= 100:
        raise UsageError("--limit must be from 1 to 100")
    _check_online()
    with app.progress() as bar:
        bar.update("searching the hub", 0, None)
        found = hub_search.search(" ".join(words), limit=limit, memory=memory_of_this_machine())
    if json:
        app.console.write(json_format.dumps([dataclasses.asdict(one) for one in found], indent=2) + "\n")
        return
    if not found:
        app.console.note("no model found")
        return
    app.console.write(format_found(found, width=app.console.line_width))


@command(
    examples=(
        ("See which model suits this machine.", "llamacli models recommend"),
        ("See which one suits it for code.", "llamacli models recommend --for code"),
    )
)
def recommend(app: AppContext, *, purpose: PurposeOption = "chat", json: JsonOption = False) -> None:
    """Recommend a model of the catalogue for this machine.

    It is the largest one that fits into the memory and that generates text about as fast as one reads. The speed is estimated
    from the rate of this machine's memory, which is measured in a moment.
    """
    from llamacli.render.model_search import format_reason, format_suited, suited_document
    from llamacli.store.models.quantization import memory_of_this_machine

    memory = memory_of_this_machine()
    found, chosen, rate = suited(purpose)
    if json:
        app.console.write(json_format.dumps(suited_document(found, chosen, memory=memory, rate=rate), indent=2) + "\n")
        return
    app.console.write(format_suited(found, chosen, width=app.console.line_width))
    if chosen is None:
        app.console.note(f"no model fits into {format_bytes(memory)} of memory: `llamacli models pull demo` is smaller")
        return
    app.console.note(format_reason(chosen, memory=memory))
    app.console.note(f"`llamacli models pull {chosen.entry.name}` downloads it")


@command(examples=(("See whether downloaded models have changed on the hub.", "llamacli models update"),))
def update(app: AppContext, *, json: JsonOption = False) -> None:
    """Compare the downloaded models of the Hugging Face hub with what it has now, by hash.

    Nothing is downloaded: `models pull` fetches what has changed.
    """
    from llamacli.render.model_search import format_changes
    from llamacli.store.models import hub_search

    _check_online()
    with app.progress() as bar:
        bar.update("asking the hub", 0, None)
        found = list(hub_search.changes())
    if json:
        app.console.write(json_format.dumps([dataclasses.asdict(one) for one in found], indent=2) + "\n")
        return
    changed = [one for one in found if one.state != "current"]
    if changed:
        app.console.write(format_changes(changed, width=app.console.line_width))
    app.console.note(f"{counted(len(found), 'file')} compared, {len(changed)} changed")


def suited(purpose: Purpose) -> tuple[list[Suited], Suited | None, float]:
    """How the models for a purpose suit this machine, the best of them, and the rate of its memory in bytes per second."""
    from llamacli.bench.memory_rate import memory_rate
    from llamacli.engine.runtime.hardware import default_threads
    from llamacli.store.models import recommend as recommendation
    from llamacli.store.models.quantization import memory_of_this_machine

    rate = memory_rate(threads=min(default_threads(), _MOST_THREADS))
    found = recommendation.rate(purpose, memory=memory_of_this_machine(), bytes_per_second=rate)
    return found, recommendation.best(found), rate


def _check_online() -> None:
    if paths.offline_requested():
        raise DownloadError("HF_HUB_OFFLINE forbids asking the hub", hint="unset it")
