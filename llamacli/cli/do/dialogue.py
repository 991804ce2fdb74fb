"""The question before a command runs: run it, edit it, explain it, or decline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from llamacli.cli.do.assistant import Assistant
from llamacli.cli.do.proposal import Proposal
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.files import read_text_file
from llamacli.cli.framework.terminal.editor import edit_file, find_editor
from llamacli.cli.framework.terminal.question import ask
from llamacli.errors import LlamacliError
from llamacli.render.proposal import format_command, format_notes

_QUESTION = "r(un), e(dit), x (explain), n(o): "
_RUN, _EDIT, _EXPLAIN, _NO = ("r", "run", "y", "yes"), ("e", "edit"), ("x", "explain", "?"), ("n", "no", "q", "quit")


def decide(app: AppContext, assistant: Assistant, proposal: Proposal) -> str | None:
    """Return the command that the user agrees to run, None if they decline.

    Raises:
        KeyboardInterrupt: on Ctrl-C.
        LlamacliError: what an explanation raises.
    """
    show_proposal(app.console, proposal)
    while True:
        with app.interrupts.guard():  # without work to cancel, so that Ctrl-C ends the question
            try:
                typed = ask(app.console, _QUESTION).lower()
            except EOFError:
                return None
        if typed in _RUN:
            return proposal.command
        if typed in _NO:
            return None
        if typed in _EXPLAIN:
            assistant.explain(proposal.command)
        elif typed in _EDIT:
            proposal = _edited(app, proposal)


def show_proposal(console: Console, proposal: Proposal) -> None:
    """Show a command, its explanation and its risks on standard error."""
    console.write_error(format_command(proposal.command, lambda text: console.styled(text, "bold")))
    show_notes(console, proposal)


def show_notes(console: Console, proposal: Proposal) -> None:
    """Show the explanation of a command and its risks on standard error."""
    notes = format_notes(
        proposal.explanation,
        proposal.risks,
        proposal.missing(console.environ),
        width=console.error_width,
        warn=lambda text: console.styled(text, "yellow"),
        dim=lambda text: console.styled(text, "dim"),
    )
    console.write_error(notes)


def _edited(app: AppContext, proposal: Proposal) -> Proposal:
    """Let the user edit the command, and show it again if it has changed."""
    try:
        with app.interrupts.guard():
            text = _edit(app.console, proposal.command).strip()
    except EOFError:
        text = ""
    except LlamacliError as error:
        app.console.fail(str(error))
        text = ""
    if not text or text == proposal.command:
        app.console.note("the command is unchanged")
        return proposal
    changed = replace(proposal, command=text, explanation="")
    show_proposal(app.console, changed)
    return changed


def _edit(console: Console, command: str) -> str:
    """Return the command as the user leaves it: on the line, or in an editor where a line cannot be redrawn."""
    if console.shows_progress:
        from llamacli.repl.app.line import edit_line

        return edit_line(command, is_stdout=console.terminals.stdout)
    with TemporaryDirectory(prefix="llamacli-") as folder:
        file = Path(folder) / "command.sh"
        file.write_text(command + "\n", encoding="utf-8", errors="surrogateescape")
        edit_file(find_editor(console), file)
        return read_text_file(file)
