"""Long text on a terminal, shown through a pager."""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Mapping

from llamacli.cli.framework.context import AppContext

_DEFAULT = "less -R"
_DEFAULTS = {"LESS": "FRX", "LESSCHARSET": "utf-8"}
"""less ends at once if the text fits the screen, shows bold text, leaves the text there, and takes it for UTF-8."""
_POLL_SECONDS = 0.2


def show_paged(app: AppContext, text: str) -> None:
    """Show text through $LLAMACLI_PAGER, $PAGER or less; write it if standard output is not a terminal or there is no pager."""
    command = pager_command(app.console.environ) if app.console.terminals.stdout else []
    if not command or not _run(app, command, text):
        app.console.write(text)


def pager_command(environ: Mapping[str, str]) -> list[str]:
    """The pager's command line. Empty if the user wants none, or the terminal cannot move its cursor."""
    named = next((environ[name] for name in ("LLAMACLI_PAGER", "PAGER") if name in environ), _DEFAULT)
    if environ.get("TERM") == "dumb" or named.strip() in ("", "cat"):
        return []
    try:
        return shlex.split(named)
    except ValueError:  # an unclosed quote
        return []


def _run(app: AppContext, command: list[str], text: str) -> bool:
    """Run the pager to its end. Return False if it cannot be started."""
    environ = {**_DEFAULTS, **app.console.environ}
    with app.interrupts.guard(grace=None) as guard:
        guard.cancel = lambda: None  # Ctrl-C is for the pager
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environ)
        except OSError:
            return False
        try:
            process.communicate(text.encode("utf-8"), timeout=_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            while process.poll() is None:
                if guard.received == signal.SIGTERM:
                    process.terminate()
                try:
                    process.communicate(timeout=_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        if guard.received == signal.SIGINT:
            guard.received = None
    return True
