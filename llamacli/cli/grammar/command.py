"""The command group `llamacli grammar`: tools for GBNF grammars and JSON schemas. Only `allowed -m` needs a model."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.framework.command import command, group
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.files import STDIN, read_text_file
from llamacli.cli.framework.inputs.grammar_files import (
    GrammarArgument,
    RootOption,
    Source,
    parse_grammar,
    read_grammar,
)
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.output_file import write_file
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.grammar.allowed import allowed
from llamacli.cli.grammar.cases import run_cases, sample
from llamacli.cli.grammar.convert import from_choices, from_examples, from_pydantic, from_regex, from_schema
from llamacli.errors import GateError, GrammarError, UsageError
from llamacli.units import counted, out_of

if TYPE_CHECKING:
    from llamacli.grammar.matcher import Match, Matcher


@command(
    examples=(
        ("Check a text.", """llamacli grammar check json '{"a": 1}'"""),
        ("Check a model's answer.", "llamacli grammar check mine.gbnf --input answer.txt"),
        ("Check only the grammar.", "llamacli grammar check mine.gbnf"),
    )
)
def check(
    app: AppContext,
    file: GrammarArgument,
    text: Annotated[tuple[str, ...], argument(metavar="TEXT", help="Texts to check; - is standard input.")] = (),
    *,
    input: Annotated[  # noqa: A002
        tuple[Path, ...],
        option("--input", metavar="FILE", help="File with a text to check; can be repeated.", environment=False),
    ] = (),
    root: RootOption = "root",
    json: JsonOption = False,
) -> None:
    """Check whether texts match a grammar, and show where they do not.

    Without a text, checks standard input if it is a pipe or a file, else only the grammar. A token in the grammar, `<think>`,
    matches that text, and `!<think>` any character. Exit status 0: all match; 8: some do not; 5: the grammar is invalid.
    """
    from llamacli.grammar.matcher import Matcher
    from llamacli.render.grammar.text import format_match, format_sound, match_document

    source = read_grammar(app.console, file)
    grammar = parse_grammar(app.console, source, root)
    texts = _texts(app, text, input, stdin_is_free=file != STDIN)
    matcher = Matcher(grammar.with_tokens_as_text())
    matches = [(one, _match(matcher, one)) for one in texts]
    if json:
        rows = [match_document(one.name, one.text, match) for one, match in matches]
        document = {"grammar": source.name, "rules": len(grammar.rules), "texts": rows}
        app.console.write(json_format.dumps(document, indent=2) + "\n")
    elif not matches:
        app.console.show(format_sound(source.name, grammar, width=app.console.line_width))
    for one, match in [] if json else matches:
        app.console.show(format_match(one.name, one.text, match, width=app.console.line_width))
    wrong = sum(not match.matches for _, match in matches)
    if wrong:
        verb = "does" if wrong == 1 else "do"
        raise GateError(f"{out_of(wrong, len(matches), 'text')} {verb} not match {source.name}")


@command(examples=(("Find errors in a grammar.", "llamacli grammar lint mine.gbnf"),))
def lint(
    app: AppContext,
    file: GrammarArgument,
    *,
    strict: Annotated[bool, option("--strict", help="Exit status 8 on warnings.", environment=False)] = False,
    root: RootOption = "root",
    json: JsonOption = False,
) -> None:
    """Show all errors and warnings in a grammar, with their locations.

    Errors: what llama.cpp refuses or does not survive, and ranges that match nothing. Warnings: unused, endless and empty
    rules, alternatives that match the same text, and ambiguity that makes llama.cpp follow very many readings. Exit status 5
    on errors.
    """
    from llamacli.grammar.analysis.linter import lint as find_problems
    from llamacli.grammar.location import LineIndex
    from llamacli.render.grammar.text import format_problem, problem_document

    source = read_grammar(app.console, file)
    problems, line_index = find_problems(source.text, root), LineIndex(source.text)
    if json:
        rows = [problem_document(source.name, line_index, problem) for problem in problems]
        app.console.write(json_format.dumps(rows, indent=2) + "\n")
    else:
        width = app.console.line_width
        app.console.show("".join(format_problem(source.name, line_index, problem, width=width) for problem in problems))
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        raise GrammarError(f"{source.name} has {counted(errors, 'error')}")
    if problems and strict:
        raise GateError(f"{source.name} has {counted(len(problems), 'warning')}")


@command(
    name="format",
    examples=(
        ("Show a grammar in canonical form.", "llamacli grammar format mine.gbnf"),
        ("Check the format in CI.", "llamacli grammar format --check mine.gbnf"),
    ),
)
def format_(
    app: AppContext,
    file: GrammarArgument,
    *,
    check: Annotated[
        bool, option("--check", help="Check only; exit status 8 if it is not in canonical form.", environment=False)
    ] = False,
    write: Annotated[bool, option("--write", help="Rewrite the file.", environment=False)] = False,
    root: RootOption = "root",
) -> None:
    """Format a grammar canonically.

    One space between items; long rules break at their alternatives. Comments and the language stay the same.
    """
    from llamacli.grammar.syntax.formatter import format_grammar

    if check and write:
        raise UsageError("--check cannot be used with --write")
    source = read_grammar(app.console, file)
    parse_grammar(app.console, source, root)
    formatted = format_grammar(source.text, root)
    if check:
        if formatted != source.text:
            raise GateError(f"{source.name} is not in canonical form", hint="format it with `llamacli grammar format --write`")
    elif write:
        path = Path(file)
        if file == STDIN or not path.exists():
            raise UsageError(f"--write needs a file, and {source.name} is not one")
        if formatted != source.text:
            write_file(path, formatted)
            app.console.note(f"{source.name} formatted")
    else:
        app.console.show(formatted)


@command(
    examples=(
        ("Explain a grammar.", "llamacli grammar explain mine.gbnf"),
        ("Draw a grammar.", "llamacli grammar explain mine.gbnf --diagram mine.svg"),
    )
)
def explain(
    app: AppContext,
    file: GrammarArgument,
    *,
    diagram: Annotated[
        Path | None, option("--diagram", metavar="FILE.svg", help="File for railroad diagrams.", environment=False)
    ] = None,
    root: RootOption = "root",
    json: JsonOption = False,
) -> None:
    """Explain the rules of a grammar in words."""
    from dataclasses import asdict

    from llamacli.grammar.analysis.explanation import explain as in_words
    from llamacli.render.grammar.text import format_rules

    source = read_grammar(app.console, file)
    grammar = parse_grammar(app.console, source, root)
    if diagram is not None:
        from llamacli.render.grammar.diagram import format_diagram

        write_file(diagram, format_diagram(grammar))
    rules = in_words(grammar)
    if json:
        app.console.write(json_format.dumps([asdict(rule) for rule in rules], indent=2) + "\n")
    else:
        app.console.show(format_rules(rules, width=app.console.line_width))


@command(
    examples=(
        ("List the built-in grammars.", "llamacli grammar show"),
        ("Start from a built-in grammar.", "llamacli grammar show json > mine.gbnf"),
    )
)
def show(
    app: AppContext,
    name: Annotated[str | None, argument(metavar="NAME", help="Built-in grammar; without it, all are listed.")] = None,
) -> None:
    """Show a built-in grammar, or list all."""
    from llamacli.grammar.builtins import builtin, builtin_names

    if name is None:
        for each in builtin_names():
            known = builtin(each)
            app.console.write(f"{each:<16} {known.summary if known else ''}\n")
        return
    found = builtin(name)
    if found is None:
        raise UsageError(f"unknown built-in grammar: {name}", hint=f"known are {', '.join(builtin_names())}")
    app.console.write(found.text)


def _texts(app: AppContext, given: tuple[str, ...], files: tuple[Path, ...], *, stdin_is_free: bool) -> list[Source]:
    """Return the texts to check with their names: the arguments, then the files, else standard input."""
    console = app.console
    wants_stdin = STDIN in given or any(str(file) == STDIN for file in files)
    if wants_stdin and not stdin_is_free:
        raise UsageError("only one of the grammar and a text can come from standard input")
    piped = (
        console.read_input() if wants_stdin or (not given and not files and stdin_is_free and console.has_piped_input) else None
    )
    texts = []
    for number, text in enumerate(given, 1):
        texts.append(Source("standard input", piped or "") if text == STDIN else Source(f"text {number}", text))
    for file in files:
        is_stdin = str(file) == STDIN
        texts.append(Source("standard input", piped or "") if is_stdin else Source(str(file), read_text_file(file)))
    if not texts and piped:
        texts.append(Source("standard input", piped))
    return texts


def _match(matcher: Matcher, source: Source) -> Match:
    """Match a text. For a text from a file, a match without its final newline is also a match."""
    match = matcher.match(source.text)
    if not match.matches and not source.name.startswith("text ") and source.text.endswith("\n"):
        shorter = matcher.match(source.text.removesuffix("\n").removesuffix("\r"))
        return shorter if shorter.matches else match
    return match


grammar = group(
    "grammar", check, lint, format_, from_schema, from_regex, from_choices, from_pydantic, from_examples, sample, explain,
    allowed, run_cases, show,
    help="Write, check and explain grammars.\n\nA grammar (GBNF) or a JSON schema constrains a model's answer. "
    "`llamacli run --grammar-file` accepts every grammar that these commands write.",
    examples=(
        ("Find where an answer violates a grammar.", "llamacli grammar check mine.gbnf --input answer.txt"),
        ("Convert a schema to a grammar.", "llamacli grammar from-schema schema.json > schema.gbnf"),
    ),
)  # fmt: skip
