"""The user's editor, for settings and templates."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from llamacli.cli.framework.console import Console
from llamacli.errors import LlamacliError, UsageError


def find_editor(console: Console) -> str:
    """Return $VISUAL, $EDITOR, nano or vi. Raises UsageError if there is none."""
    environ = console.environ
    editor = environ.get("VISUAL") or environ.get("EDITOR") or shutil.which("nano") or shutil.which("vi")
    if not editor:
        raise UsageError("no editor found", hint="set EDITOR")
    return editor


def edit_file(editor: str, file: Path) -> None:
    """Open a file and wait until the editor ends. Raises UsageError, LlamacliError if it cannot be run or fails."""
    try:
        status = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot run the editor {editor}: {error}", hint="check VISUAL and EDITOR") from error
    if status:
        raise LlamacliError(f"the editor {editor} exited with status {status}")
