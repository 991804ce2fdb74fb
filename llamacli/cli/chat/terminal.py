"""The options of `llamacli chat` about the terminal, and what a script replaces it with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.files import STDIN, read_text_file
from llamacli.cli.framework.parameters import option
from llamacli.engine.media.media import Media
from llamacli.errors import UsageError
from llamacli.render.chat.thumbnail import Thumbnails, format_thumbnail, protocol_of
from llamacli.repl.screen import Screen


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalOptions:
    """Input and output of the conversation."""

    PANEL: ClassVar[str] = "Terminal"

    plain: Annotated[bool, option("--plain", help="Show answers as plain text, without rendering Markdown.")] = False
    thumbnails: Annotated[
        Thumbnails,
        option("--thumbnails", help="Small images of what is attached, on terminals that show them; auto: not over ssh."),
    ] = "auto"
    editing: Annotated[Literal["emacs", "vi"], option("--editing", help="Key bindings of the prompt line.")] = "emacs"
    keep_history: Annotated[bool, option("--history/--no-history", help="Save typed lines for later conversations.")] = True
    script: Annotated[
        Path | None,
        option(
            "--script",
            metavar="FILE",
            help="Play a conversation from a file, one message or command per line, without a terminal.",
            environment=False,
        ),
    ] = None


def thumbnail_writer(console: Console, wanted: Thumbnails) -> Callable[[Media], str]:
    """Return what writes a thumbnail for this terminal, nothing where it shows none."""
    found = protocol_of(console.environ, wanted)

    def write(media: Media) -> str:
        return format_thumbnail(media, found) if found is not None and media.kind == "image" else ""

    return write


def read_entries(console: Console, script: Path | None) -> tuple[str, ...] | None:
    """Return the entries of a script; None for a user on a terminal.

    Raises:
        UsageError: if there is neither, or the script cannot be read.
    """
    if script is None:
        check_terminal(console)
        return None
    from llamacli.repl.script import read_script

    return read_script(console.read_input() if str(script) == STDIN else read_text_file(script), str(script))


def check_terminal(console: Console) -> None:
    """Raise UsageError unless standard input and output are a terminal."""
    if not (console.terminals.stdin and console.terminals.stdout):
        which = "input" if not console.terminals.stdin else "output"
        raise UsageError(
            f"chat needs a terminal, but standard {which} is not one", hint="use llamacli run in a pipeline, or --script"
        )


def make_screen(console: Console) -> Screen:
    """Return the screen of the conversation."""
    console.adapt_theme()
    return Screen(
        console.write,
        lambda: (console.width, shutil.get_terminal_size().lines),
        color=console.stdout_color,
        live=console.terminals.stdout,
        theme=console.look.theme,
        plain=console.look.is_plain,
    )
