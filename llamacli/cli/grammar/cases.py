"""`llamacli grammar sample` and `test`: texts of a grammar's language, and cases that it is held to."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.files import STDIN, read_text_file
from llamacli.cli.framework.grammar_files import GrammarArgument, RootOption, parse_grammar, read_grammar
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import GateError, UsageError


@command(
    examples=(
        ("Ten texts of the language.", "llamacli grammar sample mine.gbnf"),
        ("Cases for `grammar test`.", "llamacli grammar sample mine.gbnf -n 100 --jsonl > cases.jsonl"),
    )
)
def sample(
    app: AppContext,
    file: GrammarArgument,
    *,
    number: Annotated[int, option("-n", "--number", metavar="N", help="How many texts.", environment=False)] = 10,
    seed: Annotated[
        int | None,
        option("-s", "--seed", metavar="S", shows="random", help="The same seed gives the same texts.", environment=False),
    ] = None,
    max_length: Annotated[
        int | None, option("--max-length", metavar="N", help="Characters that a text may have.", environment=False)
    ] = None,
    jsonl: Annotated[
        bool, option("--jsonl", help='Write {"text": ..., "valid": true}, one a line.', environment=False)
    ] = False,
    root: RootOption = "root",
) -> None:
    """Write random texts of a grammar's language.

    They are drawn evenly from its short derivations, so that all of the grammar has its turn; every one is accepted by `check`
    and by llama.cpp. Each ends with a newline that does not belong to it.
    """
    from llamacli.grammar.sampler import Sampler

    if number < 0 or (max_length is not None and max_length < 0):
        raise UsageError("-n and --max-length must be numbers from 0")
    source = read_grammar(app.console, file)
    grammar = parse_grammar(app.console, source, root)
    for text in Sampler(grammar.with_tokens_as_text(), seed).samples(number, max_length):
        line = json_format.dumps({"text": text, "valid": True}, ensure_ascii=False) if jsonl else text
        app.console.show(line + "\n")


@dataclass(frozen=True, slots=True)
class _Case:
    """One line of a file of cases."""

    line: int
    text: str
    valid: bool


@command(
    name="test",
    examples=(("Hold a grammar to its cases in CI.", "llamacli grammar test mine.gbnf cases.jsonl"),),
)
def run_cases(
    app: AppContext,
    file: GrammarArgument,
    cases: Annotated[str, argument(metavar="CASES", help='JSON Lines: {"text": ..., "valid": true or false}.')],
    *,
    root: RootOption = "root",
    json: JsonOption = False,
) -> None:
    """Check a grammar against texts that should and should not match.

    Exit status 8 if any case goes wrong.
    """
    from llamacli.grammar.matcher import Matcher
    from llamacli.render.grammar.text import format_cases

    if file == cases == STDIN:
        raise UsageError("the grammar and the cases cannot both come from standard input")
    source = read_grammar(app.console, file)
    matcher = Matcher(parse_grammar(app.console, source, root).with_tokens_as_text())
    found = _read_cases(app, cases)
    failed = [case for case in found if matcher.matches(case.text) is not case.valid]
    if json:
        rows = [{"line": case.line, "text": case.text, "valid": case.valid} for case in failed]
        document = {"cases": len(found), "passed": len(found) - len(failed), "failed": rows}
        app.console.write(json_format.dumps(document, indent=2) + "\n")
    else:
        app.console.show(format_cases([(case.line, case.text, case.valid) for case in failed], len(found)))
    if failed:
        raise GateError(f"{len(failed)} of {len(found)} cases went wrong")


def _read_cases(app: AppContext, name: str) -> list[_Case]:
    """The cases. Raises UsageError with the line that is not one."""
    text = app.console.read_input() if name == STDIN else read_text_file(Path(name))
    cases = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json_format.loads(line)
        except (ValueError, RecursionError):
            row = None
        case = (row.get("text"), row.get("valid")) if isinstance(row, dict) else (None, None)
        if not isinstance(case[0], str) or not isinstance(case[1], bool):
            raise UsageError(f'{name}, line {number}: a case is {{"text": "...", "valid": true or false}}')
        cases.append(_Case(number, case[0], case[1]))
    if not cases:
        raise UsageError(f"{name} holds no case")
    return cases
