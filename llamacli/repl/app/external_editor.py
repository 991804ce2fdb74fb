"""The draft in an editor. prompt_toolkit's own way ends in a traceback when the editor leaves what is no text."""

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
    """Has the draft edited, and sent if that is wanted. What does not work is hinted at; then the draft stays as it is."""
    with TemporaryDirectory(prefix="llamacli-") as folder:
        file = Path(folder) / "message.md"
        file.write_bytes(buffer.text.encode("utf-8", "surrogateescape"))
        problem = await run_in_terminal(lambda: run_editor(file), in_executor=True)
        if not problem:
            try:
                text = file.read_bytes().decode()
            except UnicodeDecodeError:
                problem = "what the editor left is not UTF-8 text"
            except OSError as error:
                problem = f"what the editor left cannot be read: {error.strerror}"
    if problem:
        hint(f"{problem}: the draft is as it was")
        return
    text = text.removesuffix("\n")
    buffer.document = Document(text, len(text))
    if sends:
        buffer.validate_and_handle()


def run_editor(file: Path) -> str:
    """Runs $VISUAL, $EDITOR or the first editor that there is. Returns what was wrong, nothing if all was well."""
    for editor in (os.environ.get("VISUAL"), os.environ.get("EDITOR"), *_EDITORS):
        if not editor:
            continue
        try:
            status = subprocess.call([*shlex.split(editor), str(file)])
        except (OSError, ValueError):
            continue
        return f"the editor {editor} ended with status {status}" if status else ""
    return "there is no editor: set EDITOR"
