"""The commands `llamacli grammar sample` and `test`: random texts of a grammar, and test cases for it."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.files import STDIN, read_text_file
from llamacli.cli.framework.inputs.grammar_files import GrammarArgument, RootOption, parse_grammar, read_grammar
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import GateError, InvalidJSONError, UsageError
from llamacli.json_text import parse_json
from llamacli.units import out_of


@command(
    examples=(
        ("Write ten texts.", "llamacli grammar sample mine.gbnf"),
        ("Write cases for `grammar test`.", "llamacli grammar sample mine.gbnf -n 100 --jsonl > cases.jsonl"),
    )
)
def sample(
    app: AppContext,
    file: GrammarArgument,
    *,
    number: Annotated[int, option("-n", "--number", metavar="N", help="Number of texts.", environment=False)] = 10,
    seed: Annotated[
        int | None,
        option("-s", "--seed", metavar="S", shows="random", help="Random seed.", environment=False),
    ] = None,
    max_length: Annotated[
        int | None, option("--max-length", metavar="N", help="Largest length of a text in characters.", environment=False)
    ] = None,
    jsonl: Annotated[
        bool, option("--jsonl", help='Write {"text": ..., "valid": true}, one per line.', environment=False)
    ] = False,
    root: RootOption = "root",
) -> None:
    """Write random texts that match a grammar.

    Texts are drawn uniformly from the short derivations and cover the whole grammar. A newline follows each text and is not
    part of it.
    """
    from llamacli.grammar.analysis.sampler import Sampler

    if number < 0 or (max_length is not None and max_length < 0):
        raise UsageError("-n and --max-length must be 0 or more")
    source = read_grammar(app.console, file)
    grammar = parse_grammar(app.console, source, root)
    for text in Sampler(grammar.with_tokens_as_text(), seed).samples(number, max_length):
        line = json_format.dumps({"text": text, "valid": True}, ensure_ascii=False) if jsonl else text
        app.console.show(line + "\n")


@dataclass(frozen=True, slots=True)
class _Case:
    """One test case; `line` counts from 1."""

    line: int
    text: str
    valid: bool


@command(
    name="test",
    examples=(("Test a grammar in CI.", "llamacli grammar test mine.gbnf cases.jsonl"),),
)
def run_cases(
    app: AppContext,
    file: GrammarArgument,
    cases: Annotated[str, argument(metavar="CASES", help='JSON Lines: {"text": ..., "valid": true or false}.')],
    *,
    root: RootOption = "root",
    json: JsonOption = False,
) -> None:
    """Test a grammar against texts that should and should not match.

    Exit status 8 if any case fails.
    """
    from llamacli.grammar.matcher import Matcher
    from llamacli.render.grammar.text import format_cases

    if file == cases == STDIN:
        raise UsageError("only one of the grammar and the cases can come from standard input")
    source = read_grammar(app.console, file)
    matcher = Matcher(parse_grammar(app.console, source, root).with_tokens_as_text())
    found = _read_cases(app, cases)
    failed = [case for case in found if matcher.matches(case.text) is not case.valid]
    if json:
        documents = [{"line": case.line, "text": case.text, "valid": case.valid} for case in failed]
        document = {"cases": len(found), "passed": len(found) - len(failed), "failed": documents}
        app.console.write(json_format.dumps(document, indent=2) + "\n")
    else:
        rows = [(case.line, case.text, case.valid) for case in failed]
        app.console.show(format_cases(rows, len(found), width=app.console.line_width))
    if failed:
        raise GateError(f"{out_of(len(failed), len(found), 'case')} failed")


def _read_cases(app: AppContext, name: str) -> list[_Case]:
    """Return the cases.

    Raises:
        UsageError: if a line is not a case, or there are none.
    """
    text = app.console.read_input() if name == STDIN else read_text_file(Path(name))
    cases = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except InvalidJSONError:
            row = None
        case = (row.get("text"), row.get("valid")) if isinstance(row, dict) else (None, None)
        if not isinstance(case[0], str) or not isinstance(case[1], bool):
            raise UsageError(f'{name}:{number}: invalid case, expected {{"text": "...", "valid": true or false}}')
        cases.append(_Case(number, case[0], case[1]))
    if not cases:
        raise UsageError(f"{name} has no cases")
    return cases
