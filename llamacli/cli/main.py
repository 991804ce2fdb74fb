"""The program: its commands, each loaded only when it runs, inside the error boundary."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass

from llamacli.cli.boundary import guarded
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.context import AppContext

COMMANDS, HELPERS = "Commands", "Models and settings"


@dataclass(frozen=True, slots=True)
class Entry:
    """A command as `--help` lists it, without loading it. In `module` it is called as on the command line.

    `summary` is the first sentence of its help, without the full stop.
    """

    name: str
    module: str
    summary: str
    panel: str = COMMANDS

    @property
    def attribute(self) -> str:
        """The command's name in its module."""
        return self.name.replace("-", "_")


REGISTRY: tuple[Entry, ...] = (
    Entry("run", "llamacli.cli.run.command", "Stream an answer to a prompt"),
    Entry("chat", "llamacli.cli.chat.command", "Talk to a model"),
    Entry("embed", "llamacli.cli.embed.command", "Turn texts into vectors"),
    Entry("bench", "llamacli.cli.bench.command", "Measure how fast models run"),
    Entry("tokenize", "llamacli.cli.tokenize.command", "Count, show and compare tokens"),
    Entry("grammar", "llamacli.cli.grammar.command", "Write, check and understand grammars"),
    Entry("info", "llamacli.cli.info.command", "Look into a model file"),
    Entry("models", "llamacli.cli.models.command", "List, fetch, remove and quantize models", HELPERS),
    Entry("config", "llamacli.cli.config.command", "Show, check and change the settings", HELPERS),
)  # fmt: skip
"""Every command, in the order of `--help`."""


def run_program(arguments: list[str], app: AppContext | None = None) -> int:
    """Runs one command line and returns its exit status. Without `app`, on the process's own streams and signals."""
    app = app or AppContext(console=Console.system())
    debug = "--debug" in arguments or app.console.environ.get("LLAMACLI_DEBUG", "") not in ("", "0")
    on_main_thread = threading.current_thread() is threading.main_thread()
    with app.interrupts.installed() if on_main_thread else nullcontext():
        return guarded(lambda: _invoke(arguments, app), app.console, debug=debug)


def _invoke(arguments: list[str], app: AppContext) -> int:
    from llamacli.cli.program import make_program  # inside the boundary: Ctrl-C may come while Typer is being imported

    program = make_program(REGISTRY)
    with program.make_context("llamacli", list(arguments), obj=app) as ctx:
        program.invoke(ctx)
    return 0
