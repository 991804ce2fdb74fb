"""Constraints from text: JSON schemas, grammars and regular expressions, with the line of a mistake shown."""

from __future__ import annotations

from collections.abc import Callable

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.grammar_files import Source, parse_grammar, read_grammar
from llamacli.engine.constraint.answer_constraint import (
    AnswerConstraint,
    grammar_constraint,
    require_enforced,
    schema_constraint,
)
from llamacli.errors import GrammarSyntaxError, SchemaError
from llamacli.grammar.choices import from_choices
from llamacli.grammar.gbnf import check_safe
from llamacli.grammar.location import LineIndex
from llamacli.grammar.regex import from_regex


def warn_not_enforced(console: Console, constraint: AnswerConstraint, prefix: str = "") -> None:
    """Warn of the parts of a schema that cannot be enforced."""
    from llamacli.render.grammar.text import format_not_enforced

    for finding in constraint.not_enforced:
        console.warn(prefix + format_not_enforced(finding))


def constraint_from_schema(
    console: Console, name: str, text: str, *, strict: bool = False, compact: bool = False
) -> AnswerConstraint:
    """Return the constraint of a schema's text; `name` is its source. Warns of the parts that cannot be enforced.

    `compact` allows no blanks and line ends between the parts of an answer.

    Raises:
        SchemaError: if it is invalid; the line is shown on standard error.
    """
    try:
        constraint = schema_constraint(text, compact=compact)
    except SchemaError as error:
        raise _shown(console, name, text, error.place or 0, error.message) from error
    warn_not_enforced(console, constraint)
    return require_enforced(constraint) if strict else constraint


def _located(console: Console, name: str, text: str, work: Callable[[], str]) -> str:
    """Return `work()`; the line of a syntax error is shown."""
    try:
        return work()
    except GrammarSyntaxError as error:
        index = len(text.encode("utf-8", "surrogatepass")[: error.offset].decode("utf-8", "surrogatepass"))
        raise _shown(console, name, text, index, error.message.partition(": ")[2]) from error


def _shown(console: Console, name: str, text: str, index: int, message: str) -> SchemaError:
    """Show the line of a position with a caret, and return the error for it."""
    from llamacli.render.grammar.text import format_excerpt

    places = LineIndex(text)
    place = places.location(index)
    for line in format_excerpt(places, index, width=console.error_width):
        console.write_error(f"{line}\n")
    return SchemaError(f"{name}:{place.line}:{place.column}: {message}")


def constraint_from_grammar(console: Console, source: Source) -> AnswerConstraint:
    """Return the constraint of a GBNF grammar.

    Raises:
        GrammarError: if it is invalid; the line is shown on standard error.
    """
    parse_grammar(console, source, "root")
    return grammar_constraint(source.text, trusted=True)


def constraint_from_grammar_file(console: Console, name: str) -> AnswerConstraint:
    """Return the constraint of a grammar's file, or of a built-in grammar's name.

    Raises:
        UsageError: if it cannot be read.
        GrammarError: if it is invalid; the line is shown on standard error.
    """
    return constraint_from_grammar(console, read_grammar(console, name))


def constraint_from_regex_or_choices(
    console: Console, name: str, pattern: str | None, choices: tuple[str, ...]
) -> AnswerConstraint:
    """Return the constraint of a regular expression, `name` its source, or without one that of choices.

    Raises:
        SchemaError: if the expression is invalid; the line is shown on standard error.
        GrammarError: if the grammar is too large.
    """
    grammar = from_choices(choices) if pattern is None else _located(console, name, pattern, lambda: from_regex(pattern))
    check_safe(grammar)
    return grammar_constraint(grammar, trusted=True)
