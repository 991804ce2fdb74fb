"""The constraint of `run`, read from its options and checked before a model is loaded."""

from __future__ import annotations

from pathlib import Path

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.constraints import (
    constraint_from_grammar,
    constraint_from_grammar_file,
    constraint_from_schema,
    grammar_from_regex,
)
from llamacli.cli.framework.files import STDIN, read_text_file
from llamacli.cli.framework.grammar_files import Source
from llamacli.cli.run.options import ConstraintOptions
from llamacli.engine.constraint.answer_constraint import AnswerConstraint, grammar_constraint
from llamacli.errors import UsageError
from llamacli.grammar import check_safe
from llamacli.grammar.choices import from_choices

_FLAGS = {
    "json_schema": "-j",
    "json_schema_file": "-jf",
    "grammar": "--grammar",
    "grammar_file": "--grammar-file",
    "regex": "--regex",
    "choices": "--choices",
}


def read_constraint(console: Console, options: ConstraintOptions) -> AnswerConstraint | None:
    """Return the constraint that the options name, checked, or None. Warns of what of a schema cannot be enforced.

    Raises:
        UsageError: if more than one is given, or a file cannot be read.
        GrammarError: if it is invalid; the line is shown on standard error.
    """
    given = [flag for name, flag in _FLAGS.items() if getattr(options, name) not in (None, ())]
    if len(given) > 1:
        raise UsageError(f"{given[0]} cannot be used with {' or '.join(given[1:])}")
    if options.json_schema is not None:
        return constraint_from_schema(console, "-j", options.json_schema, strict=options.strict)
    if (file := options.json_schema_file) is not None:
        return constraint_from_schema(console, str(file), _read(console, file), strict=options.strict)
    if options.grammar is not None:
        return constraint_from_grammar(console, Source("--grammar", options.grammar))
    if options.grammar_file is not None:
        return constraint_from_grammar_file(console, options.grammar_file)
    if options.regex is None and not options.choices:
        return None
    pattern = options.regex
    grammar = from_choices(options.choices) if pattern is None else grammar_from_regex(console, "--regex", pattern)
    check_safe(grammar)
    return grammar_constraint(grammar, trusted=True)


def _read(console: Console, path: Path) -> str:
    return console.read_input() if str(path) == STDIN else read_text_file(path)
