"""The constraint of `/grammar` and `/schema`, as text or from a file."""

from __future__ import annotations

from pathlib import Path

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.constraints import (
    constraint_from_grammar,
    constraint_from_grammar_file,
    constraint_from_schema,
)
from llamacli.cli.framework.inputs.files import STDIN, read_text_file
from llamacli.cli.framework.inputs.grammar_files import Source
from llamacli.errors import UsageError
from llamacli.repl.setup import ChatConstraint, ConstraintKind


def read_constraint(console: Console, kind: ConstraintKind, given: str) -> ChatConstraint:
    """Return the constraint that `given` is the text or the file of. Warn about parts of a schema that cannot be enforced.

    Raises:
        UsageError: if the file cannot be read.
        GrammarError: if it is invalid; the line at fault is shown.
    """
    if kind == "grammar":
        is_text = "::=" in given
        source = Source("/grammar", given)
        answer = constraint_from_grammar(console, source) if is_text else constraint_from_grammar_file(console, _file(given))
    elif given.startswith("{"):
        answer = constraint_from_schema(console, "/schema", given)
    else:
        answer = constraint_from_schema(console, _file(given), read_text_file(Path(_file(given))))
    return ChatConstraint(kind, given, answer)


def _file(given: str) -> str:
    if given == STDIN:
        raise UsageError("standard input is the terminal: give a file name")
    return str(Path(given).expanduser())
