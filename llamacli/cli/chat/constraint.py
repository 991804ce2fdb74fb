"""The constraint of a conversation: a grammar or a JSON schema, as text or from a file."""

from __future__ import annotations

from pathlib import Path

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.constraints import (
    constraint_from_grammar,
    constraint_from_grammar_file,
    constraint_from_schema,
)
from llamacli.cli.framework.files import STDIN, read_text_file
from llamacli.cli.framework.grammar_files import Source
from llamacli.errors import UsageError
from llamacli.repl.setup import Held, HeldTo


def read_held(console: Console, kind: HeldTo, given: str) -> Held:
    """Return the constraint of a text, or of a file. Warns of what of a schema cannot be enforced.

    Raises:
        UsageError: if the file cannot be read.
        GrammarError: if it is invalid; the line is shown.
    """
    if kind == "grammar":
        is_text = "::=" in given
        source = Source(f"/{kind}", given)
        found = constraint_from_grammar(console, source) if is_text else constraint_from_grammar_file(console, _file(given))
    elif given.startswith("{"):
        found = constraint_from_schema(console, f"/{kind}", given)
    else:
        file = _file(given)
        found = constraint_from_schema(console, file, read_text_file(Path(file)))
    return Held(kind, given, found.grammar, found.check)


def _file(given: str) -> str:
    if given == STDIN:
        raise UsageError("standard input is where you type: name a file")
    return str(Path(given).expanduser())
