"""The outermost command, which finds the others by name and imports only the one that runs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llamacli.cli.framework.command import Group, command
from llamacli.cli.framework.parameters import option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llamacli.cli.main import Entry

HELP = """Run local language models (GGUF files) from the terminal. Every command has --help. With no model named, a small one
is fetched.
"""

EXAMPLES = (
    ("Ask the demo model.", 'llamacli run "Why is the sky blue?"'),
    ("Use a model of your own.", 'llamacli run -m model.gguf "Who are you?"'),
)


class Program(Group):
    """Commands by name, imported when they are asked for."""

    registry: dict[str, Entry]

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # the base names its private class
        """The names, in the order of `--help`."""
        return list(self.registry)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """Imports one command, or returns None."""
        entry = self.registry.get(cmd_name)
        return getattr(importlib.import_module(entry.module), entry.attribute) if entry else None

    @property
    def summaries(self) -> dict[str, tuple[str, str]]:
        """Panel and summary of each command, for `--help`."""
        return {entry.name: (entry.panel, entry.summary) for entry in self.registry.values()}

    def near_command(self, ctx: Any, word: str) -> str:
        """What was probably meant: a command, or a question to the model."""
        if " " in word:
            return "to ask a model something, write llamacli run and the text in quotes"
        return super().near_command(ctx, word)


def make_program(registry: Sequence[Entry]) -> Program:
    """The command `llamacli` with these commands in it."""

    @command()
    def root(
        version: Annotated[
            bool, option("--version", help="Show the version.", callback=show_version, environment=False)
        ] = False,
    ) -> None:
        """Only its options are used."""

    program = Program(name="llamacli", help=HELP, add_help_option=False, rich_markup_mode=None)
    program.params = [parameter for parameter in root.params if parameter.name in ("version", "help")]
    program.examples = EXAMPLES
    program.registry = {entry.name: entry for entry in registry}
    return program


def show_version(ctx: typer.Context, value: bool) -> None:
    """Prints the version and ends the program."""
    if value and not ctx.resilient_parsing:
        from llamacli.cli.version import format_version

        ctx.obj.console.write(format_version() + "\n")
        raise typer.Exit
