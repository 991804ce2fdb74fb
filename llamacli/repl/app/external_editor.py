"""The draft in an external editor. prompt_toolkit's own function raises if the editor leaves invalid UTF-8."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document

_EDITORS = ("/usr/bin/editor", "/usr/bin/nano", "/usr/bin/vi")


async def edit(buffer: Buffer, hint: Callable[[str], None], *, sends: bool) -> None:
    """Edit the draft, and send it if `sends`. Report a failure through `hint`; the draft is then unchanged."""
    with TemporaryDirectory(prefix="llamacli-") as folder:
        file = Path(folder) / "message.md"
        file.write_bytes(buffer.text.encode("utf-8", "surrogateescape"))
        problem = await run_in_terminal(lambda: run_editor(file), in_executor=True)
        if not problem:
            try:
                text = file.read_bytes().decode()
            except UnicodeDecodeError:
                problem = "the edited file is not UTF-8 text"
            except OSError as error:
                problem = f"the edited file cannot be read: {error.strerror}"
    if problem:
        hint(f"{problem}: the draft is unchanged")
        return
    text = text.removesuffix("\n")
    buffer.document = Document(text, len(text))
    if sends:
        buffer.validate_and_handle()


def run_editor(file: Path) -> str:
    """Run $VISUAL, $EDITOR or the first installed editor. Return an error message, empty on success."""
    for editor in (os.environ.get("VISUAL"), os.environ.get("EDITOR"), *_EDITORS):
        if not editor:
            continue
        try:
            status = subprocess.call([*shlex.split(editor), str(file)])
        except (OSError, ValueError):
            continue
        return f"the editor {editor} ended with status {status}" if status else ""
    return "no editor found: set EDITOR"
