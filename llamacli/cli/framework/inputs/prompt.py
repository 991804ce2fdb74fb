"""The prompt of a command line: its argument, documents, and standard input."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Sequence

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.documents import STDIN_NAME, Access, DocumentInput, Found, describe
from llamacli.cli.framework.inputs.files import STDIN
from llamacli.documents.text import MAX_INPUT_BYTES
from llamacli.errors import CapacityError, UsageError


def read_prompt(
    console: Console,
    argument: str | None,
    files: Sequence[str],
    *,
    raw: bool,
    required: bool = True,
    access: Access | None = None,
) -> str:
    """Return the prompt: files in their order, then standard input, then the argument, separated by blank lines.

    Files and piped text are the material and the argument is the instruction, which models follow best at the end. `-` as the
    argument or as a file puts standard input in its place; a terminal is read only then, and so is what a loop of the shell
    reads from, and what those who started the program left open without data. The newline at the end of a file or of
    standard input is dropped.

    Raises:
        UsageError: the prompt is empty though it is `required`, or something cannot be read.
        CapacityError: there is more text than any context holds.
    """
    parts = read_material(console, argument, files, access or Access())
    if argument is not None and argument != STDIN:
        parts.append(argument)
    text = "\n\n".join(part for part in parts if part)
    if required and (not text or not (raw or text.strip())):
        raise UsageError(_nothing(argument, files, console), hint="pass it as an argument, with -f FILE, or on standard input")
    return text


def read_material(console: Console, argument: str | None, files: Sequence[str], access: Access) -> list[str]:
    """Return the texts of files and of standard input, as `read_prompt` joins them. Raises as `read_prompt`."""
    parts: list[str] = []
    size = 0
    with contextlib.closing(read_documents(console, argument, files, access)) as documents:
        for found in documents:
            parts.append(found.titled)
            size += len(parts[-1])
            if size > MAX_INPUT_BYTES:
                limit = f"{MAX_INPUT_BYTES >> 20} million characters"
                raise CapacityError(f"the files have more than {limit}", hint="no context holds as much")
    return parts


def show_texts(console: Console, documents: Iterable[Found]) -> None:
    """Write the texts of documents as a prompt has them, and their formats and sizes on standard error.

    Raises:
        UsageError: there are none, or one cannot be read.
    """
    count = 0
    for count, found in enumerate(documents, 1):
        console.note(describe(found.document))
        console.show(("\n" if count > 1 else "") + found.titled + "\n")
    if not count:
        raise UsageError("--show-text needs a file", hint="name it with -f")


def read_documents(console: Console, argument: str | None, files: Sequence[str], access: Access) -> Generator[Found]:
    """Yield the documents before the argument of a prompt: files, and standard input if it belongs to the prompt.

    Raises:
        UsageError, FetchError, CapacityError: as `DocumentInput.read_all`.
    """
    requested = STDIN in files or argument == STDIN
    is_read = requested or _is_piped_text(console, alone=argument is None and not files)
    words = [*files, *([STDIN] if is_read and STDIN not in files else [])]
    if words.count(STDIN) > 1:
        raise UsageError("standard input can be read only once", hint=f"write {STDIN} once")
    with DocumentInput(console, access, requested=requested) as documents:
        for found in documents.read_all(words):
            if requested or found.document.text or found.document.name != STDIN_NAME:
                yield found


def _is_piped_text(console: Console, *, alone: bool) -> bool:
    """Return whether standard input is part of the prompt, though it was not requested; it is if it is `alone`."""
    if not console.has_piped_input:
        return False
    if alone:
        return True
    if console.input_belongs_to_a_loop:
        console.note("standard input belongs to a loop of the shell and is not read (- reads it, --no-stdin hides this note)")
        return False
    if console.input_stays_idle():
        console.note("standard input is open but empty and is not read (- waits for it, --no-stdin hides this note)")
        return False
    return True


def _nothing(argument: str | None, files: Sequence[str], console: Console) -> str:
    if argument is None and not files and not console.has_piped_input:
        return "the prompt is missing"
    return "the prompt is empty"
