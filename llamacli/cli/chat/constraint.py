"""The constraint of `/grammar` and `/schema`, as text or from a file."""

from __future__ import annotations

from pathlib import Path

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.files import STDIN, read_text_file
from llamacli.cli.framework.grammar_files import Source, parse_grammar, read_grammar
from llamacli.cli.run.constraint import hold_to_schema, tell_not_enforced
from llamacli.errors import SchemaError, UsageError
from llamacli.repl.setup import ChatConstraint, ConstraintKind


def read_constraint(console: Console, kind: ConstraintKind, given: str) -> ChatConstraint:
    """Return the constraint that `given` is the text or the file of. Warn about parts of a schema that cannot be enforced.

    Raises:
        UsageError: if the file cannot be read.
        GrammarError: if it is invalid; the line at fault is shown.
    """
    return _read_grammar(console, given) if kind == "grammar" else _read_schema(console, given)


def _read_grammar(console: Console, given: str) -> ChatConstraint:
    from llamacli.engine.constraint.matcher import Constraint

    source = Source("/grammar", given) if "::=" in given else read_grammar(console, _file_name(given))
    parse_grammar(console, source, "root")
    return ChatConstraint("grammar", given, Constraint(grammar=source.text, trusted=True), lambda content: None)


def _read_schema(console: Console, given: str) -> ChatConstraint:
    from llamacli.grammar.places import Places

    if given.startswith("{"):
        name, text = "/schema", given
    else:
        name = _file_name(given)
        text = read_text_file(Path(name))
    try:
        held = hold_to_schema(text)
    except SchemaError as error:
        places = Places(text)
        place = places.at(error.place or 0)
        for line in places.excerpt(error.place or 0):
            console.write_error(f"    {line}\n")
        raise SchemaError(f"{name}:{place.line}:{place.column}: {error.message}", hint=error.hint) from error
    tell_not_enforced(console, held)
    return ChatConstraint("schema", given, held.constraint, held.check)


def _file_name(given: str) -> str:
    if given == STDIN:
        raise UsageError("standard input is the terminal: give a file name")
    return str(Path(given).expanduser())
