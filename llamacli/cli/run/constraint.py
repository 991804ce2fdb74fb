"""The constraint of `run`, read from its options and checked before a model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.files import STDIN, read_text_file
from llamacli.cli.run.options import ConstraintOptions
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.engine.constraint.answer_constraint import AnswerConstraint

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
    if options.json_compact and options.json_schema is None and options.json_schema_file is None:
        raise UsageError("--json-compact needs -j or -jf")
    if not given:
        return None
    if len(given) > 1:
        raise UsageError(f"{given[0]} cannot be used with {' or '.join(given[1:])}")
    from llamacli.cli.framework.inputs.constraints import (
        constraint_from_grammar,
        constraint_from_grammar_file,
        constraint_from_regex_or_choices,
        constraint_from_schema,
    )
    from llamacli.cli.framework.inputs.grammar_files import Source

    how = {"strict": options.strict, "compact": options.json_compact}
    if options.json_schema is not None:
        return constraint_from_schema(console, "-j", options.json_schema, **how)
    if (file := options.json_schema_file) is not None:
        return constraint_from_schema(console, str(file), _read(console, file), **how)
    if options.grammar is not None:
        return constraint_from_grammar(console, Source("--grammar", options.grammar))
    if options.grammar_file is not None:
        return constraint_from_grammar_file(console, options.grammar_file)
    return constraint_from_regex_or_choices(console, "--regex", options.regex, options.choices)


def _read(console: Console, path: Path) -> str:
    return console.read_input() if str(path) == STDIN else read_text_file(path)
