"""The options of every command, and single ones that many have."""

from typing import Annotated, ClassVar

import typer

from llamacli.cli.framework.parameters import option
from llamacli.cli.framework.terminal.look import ColorMode
from llamacli.render.theme import THEME_HELP, parse_theme
from llamacli.values import dataclass


def check_theme(text: str) -> str:
    """Return the text of a theme. Raises ValueError if it is invalid."""
    parse_theme(text)
    return text


def show_help(ctx: typer.Context, value: bool) -> None:
    """Print the help with the common options and end the program."""
    if value and not ctx.resilient_parsing:
        _print_help(ctx, whole=False)


def show_whole_help(ctx: typer.Context, value: bool) -> None:
    """Print the help with all options and end the program."""
    if value and not ctx.resilient_parsing:
        _print_help(ctx, whole=True)


def _print_help(ctx: typer.Context, *, whole: bool) -> None:
    from llamacli.cli.framework.help import format_help

    console = ctx.obj.console
    bold = lambda text: console.styled(text, "bold", stdout=True)  # noqa: E731
    console.write(format_help(ctx, width=console.width, bold=bold, whole=whole))
    raise typer.Exit


OfflineOption = Annotated[bool, option("--offline", loads=False, help="Do not download anything.")]

JsonOption = Annotated[bool, option("--json", help="Write one JSON document.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonOptions:
    """The options of every command, which the framework obeys."""

    PANEL: ClassVar[str] = "Common"

    color: Annotated[ColorMode, option("--color", help="When to use colours.")] = "auto"
    theme: Annotated[
        str,
        option(
            "--theme", metavar=THEME_HELP, parser=check_theme, shows="auto",
            help="Colours for a dark or a light background; single ones are replaced as in light,yellow=#8a5a00.",
        ),
    ] = "auto"  # fmt: skip
    verbose: Annotated[int, option("-v", "--verbose", count=True, help="Show the log on standard error; -vv shows more.")] = 0
    profile: Annotated[str | None, option("--profile", metavar="NAME", help="Profile from the settings.")] = None
    unset: Annotated[
        tuple[str, ...],
        option(
            "--unset", metavar="NAMES", environment=False,
            help="Comma-separated options that the environment and the settings do not set this time.",
        ),
    ] = ()  # fmt: skip
    no_stdin: Annotated[bool, option("--no-stdin", help="Ignore standard input.")] = False
    debug: Annotated[bool, option("--debug", help="Show the traceback of an error.")] = False
    help: Annotated[bool, option("-h", "--help", help="Show the common options.", callback=show_help, environment=False)] = (
        False
    )
    help_all: Annotated[
        bool, option("--help-all", help="Show all options, by group.", callback=show_whole_help, environment=False)
    ] = False
