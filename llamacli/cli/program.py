"""The outermost command, which finds the others by name and imports only the one that runs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import typer

from llamacli.cli.framework.command import Group
from llamacli.cli.framework.parameters import option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llamacli.cli.registry import Entry

HELP = "Run local language models (GGUF files). Without -m, a demo model is fetched."

EXAMPLES = (("Ask a model.", 'llamacli run -m model.gguf "Who are you?"'),)

FOREIGN_COMMANDS = {
    "pull": "llamacli models pull MODEL", "list": "llamacli models list", "ls": "llamacli models list",
    "ps": "llamacli models running", "stop": "llamacli models stop MODEL", "rm": "llamacli models rm MODEL",
    "show": "llamacli models show MODEL, or llamacli info MODEL",
    "create": "llamacli run -T ./Modelfile uses a Modelfile; llamacli templates new NAME writes a template",
    "cp": "llamacli config set aliases.NAME MODEL", "prompt": "llamacli run PROMPT",
    "server": "llamacli serve", "cli": "llamacli chat", "quantize": "llamacli models quantize", "keys": "llamacli serve key",
    "aliases": "llamacli config set aliases.NAME MODEL", "collections": "llamacli embed index",
    "similar": "llamacli embed index search", "schemas": "llamacli run -j SCHEMA", "perplexity": "llamacli bench quality",
    "search": "llamacli models search WORD", "download": "llamacli models pull MODEL", "version": "llamacli --version",
    "embed-multi": "llamacli embed --input FILE", "imatrix": "llamacli models imatrix",
}  # fmt: skip
"""Commands of ollama, llm and llama.cpp, and the lines that do the same."""


class Program(Group):
    """Commands by name, each imported when it is called."""

    def __init__(self, registry: Sequence[Entry]) -> None:
        declared = option("--version", help="Show the version.", callback=show_version, environment=False)
        super().__init__("llamacli", help=HELP, options=[declared.build("version", bool, False)], examples=EXAMPLES)
        self.registry = {entry.name: entry for entry in registry}

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # the base names its private class
        """The names, in the order of `--help`."""
        return list(self.registry)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """Import a command, or return None if it is unknown."""
        entry = self.registry.get(cmd_name)
        return getattr(importlib.import_module(entry.module), entry.attribute) if entry else None

    @property
    def summaries(self) -> dict[str, tuple[str, str]]:
        """Panel and summary of each command, for `--help`."""
        return {entry.name: (entry.panel, entry.summary) for entry in self.registry.values()}

    def near_command(self, ctx: Any, word: str) -> str:
        """A hint about an unknown command, which may be a prompt."""
        if word in FOREIGN_COMMANDS:
            return FOREIGN_COMMANDS[word]
        if " " in word:
            return "to ask a model something, write llamacli run and the text in quotes"
        return super().near_command(ctx, word)


def show_version(ctx: typer.Context, value: bool) -> None:
    """Print the version and end the program."""
    if value and not ctx.resilient_parsing:
        from llamacli.cli.version import format_version

        ctx.obj.console.write(format_version() + "\n")
        raise typer.Exit
