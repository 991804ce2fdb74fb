"""The commands, by name: what `--help` lists without importing them. This module imports nothing of ours."""

from __future__ import annotations

from llamacli.values import dataclass

COMMANDS, HELPERS = "Commands", "Models and settings"


@dataclass(frozen=True, slots=True)
class Entry:
    """A command as `--help` lists it. `module` defines it under its name.

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
    Entry("do", "llamacli.cli.do.command", "Propose a shell command for a task, and run it if you agree"),
    Entry("embed", "llamacli.cli.embed.command", "Turn texts into vectors"),
    Entry("serve", "llamacli.cli.serve.command", "Serve models over HTTP"),
    Entry("bench", "llamacli.cli.bench.command", "Measure how fast models run"),
    Entry("tokenize", "llamacli.cli.tokenize.command", "Count, show and compare tokens"),
    Entry("grammar", "llamacli.cli.grammar.command", "Write, check and explain grammars"),
    Entry("info", "llamacli.cli.info.command", "Inspect a model file"),
    Entry("models", "llamacli.cli.models.command", "List, find, download, remove and quantize models", HELPERS),
    Entry("templates", "llamacli.cli.templates.command", "List, show and write prompt templates", HELPERS),
    Entry("log", "llamacli.cli.log.command", "List, search and export the log of run", HELPERS),
    Entry("config", "llamacli.cli.config.command", "Show, check and change the settings", HELPERS),
    Entry("help", "llamacli.cli.help.command", "Show a guide or the help of a command", HELPERS),
)  # fmt: skip
"""Every command, in the order of `--help`."""
