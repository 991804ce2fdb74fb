"""Prompts and other text from the argument, files and standard input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llamacli.cli.framework.console import Console
from llamacli.documents.file import read_data
from llamacli.documents.text import decode
from llamacli.errors import UsageError
from llamacli.json_text import parse_json

STDIN = "-"


def read_prompt(console: Console, argument: str | None, files: Sequence[Path], *, raw: bool, required: bool = True) -> str:
    """Return the prompt: files in their order, then standard input, then the argument, separated by blank lines.

    Files and piped text are the material and the argument is the instruction, which models follow best at the end. `-` as the
    argument or as a file puts standard input in its place; a terminal is read only then, and so is what a loop of the shell
    reads from, and what those who started the program left open without data. The newline at the end of a file or of
    standard input is dropped.

    Raises:
        UsageError: the prompt is empty though it is `required`, or something cannot be read.
    """
    stdin_among_files = any(str(file) == STDIN for file in files)
    requested = stdin_among_files or argument == STDIN
    is_read = requested or _is_piped_text(console, alone=argument is None and not files)
    piped = console.read_input(requested=requested) if is_read else ""
    material = [piped if str(file) == STDIN else read_text_file(file) for file in files]
    if not stdin_among_files:
        material.append(piped)
    parts = [_without_last_newline(text) for text in material]
    if argument is not None and argument != STDIN:
        parts.append(argument)
    text = "\n\n".join(part for part in parts if part)
    if required and (not text or not (raw or text.strip())):
        raise UsageError(_nothing(argument, files, console), hint="pass it as an argument, with -f FILE, or on standard input")
    return text


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


def read_text_file(path: Path) -> str:
    """Read a file's text. Raises UsageError if it is missing, a directory, unreadable or not text; CapacityError if huge."""
    return decode(read_data(path), str(path))


def read_json_file(path: Path) -> Any:
    """Read a JSON file. Raises like `read_text_file`, and UsageError with the position if it is invalid JSON."""
    return parse_json(read_text_file(path), source=str(path))


def _without_last_newline(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _nothing(argument: str | None, files: Sequence[Path], console: Console) -> str:
    if argument is None and not files and not console.has_piped_input:
        return "the prompt is missing"
    return "the prompt is empty"
