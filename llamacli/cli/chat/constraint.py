"""What a conversation holds answers to: a grammar or a JSON schema, as text or from a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.run.constraint import read_constraint
from llamacli.cli.run.options import ConstraintOptions
from llamacli.errors import GrammarError, UsageError

if TYPE_CHECKING:
    from llamacli.cli.framework.console import Console
    from llamacli.repl.setup import Held, HeldTo


def read_held(console: Console, kind: HeldTo, given: str) -> Held:
    """The constraint that `given` is the text of, or the file. What of a schema cannot be enforced is said.

    Raises:
        UsageError: a file that cannot be read.
        GrammarError: it is invalid; where, is shown.
    """
    from llamacli.repl.setup import Held

    if kind == "grammar":
        is_text = "::=" in given
        options = ConstraintOptions(grammar=given) if is_text else ConstraintOptions(grammar_file=_file(given))
    else:
        is_text = given.startswith("{")
        options = ConstraintOptions(json_schema=given) if is_text else ConstraintOptions(json_schema_file=Path(_file(given)))
    try:
        held = read_constraint(console, options)
    except GrammarError as error:  # which names an option; here it is a command
        message = re.sub(r"^(--grammar|-j):", f"/{kind}:", error.message)
        raise GrammarError(message, hint=error.hint) from error
    assert held is not None
    return Held(kind, given, held.constraint, held.check)


def _file(given: str) -> str:
    if given == "-":
        raise UsageError("standard input is where you type: name a file")
    return str(Path(given).expanduser())
