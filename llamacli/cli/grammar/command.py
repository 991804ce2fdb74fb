"""`llamacli grammar`: a workbench for GBNF grammars and JSON schemas. Only `allowed -m` needs a model."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.framework.command import command, group
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.files import STDIN, read_text_file
from llamacli.cli.framework.grammar_files import GrammarArgument, RootOption, Source, parse_grammar, read_grammar, write_file
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.grammar.allowed import allowed
from llamacli.cli.grammar.cases import run_cases, sample
from llamacli.cli.grammar.convert import from_choices, from_examples, from_pydantic, from_regex, from_schema
from llamacli.errors import GateError, GrammarError, UsageError

if TYPE_CHECKING:
    from llamacli.grammar.matcher import Match, Matcher


@command(
    examples=(
        ("Is this text in the language?", """llamacli grammar check json '{"a": 1}'"""),
        ("Check a model's answer.", "llamacli grammar check mine.gbnf --input answer.txt"),
        ("Is the grammar itself right?", "llamacli grammar check mine.gbnf"),
    )
)
def check(
    app: AppContext,
    file: GrammarArgument,
    text: Annotated[tuple[str, ...], argument(metavar="TEXT", help="Texts to check; - is standard input.")] = (),
    *,
    input: Annotated[  # noqa: A002
        tuple[Path, ...],
        option("--input", metavar="FILE", help="A text to check, from a file; may be given many times.", environment=False),
    ] = (),
    root: RootOption = "root",
    json: JsonOption = False,
) -> None:
    """Tell whether texts match a grammar, and where they stop if not.

    Without a text, what is piped in is checked, or else only the grammar. A token that the grammar names, `<think>`, is taken
    as that text, and `!<think>` as any character: only a model knows tokens. Exit status 0: all match; 8: some do not; 5: the
    grammar is wrong.
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
        app.console.show(format_sound(source.name, grammar))
    for one, match in [] if json else matches:
        app.console.show(format_match(one.name, one.text, match))
    wrong = sum(not match.matches for _, match in matches)
    if wrong:
        raise GateError(f"{wrong} of {len(matches)} texts {'does' if wrong == 1 else 'do'} not match {source.name}")


@command(examples=(("What is wrong with this grammar?", "llamacli grammar lint mine.gbnf"),))
def lint(
    app: AppContext,
    file: GrammarArgument,
    *,
    strict: Annotated[bool, option("--strict", help="Exit status 8 if there is any warning.", environment=False)] = False,
    root: RootOption = "root",
    json: JsonOption = False,
) -> None:
    """Show all errors and warnings in a grammar, with their places.

    Errors are what llama.cpp refuses or does not survive, and ranges that match nothing. Warnings are unused, endless and empty
    rules, alternatives that match the same text, and whatever makes llama.cpp follow very many readings at once. Exit status 5
    if there is an error.
    """
    from llamacli.grammar.linter import lint as find_problems
    from llamacli.grammar.places import Places
    from llamacli.render.grammar.text import format_problem, problem_document

    source = read_grammar(app.console, file)
    problems, places = find_problems(source.text, root), Places(source.text)
    if json:
        rows = [problem_document(source.name, places, problem) for problem in problems]
        app.console.write(json_format.dumps(rows, indent=2) + "\n")
    else:
        app.console.show("".join(format_problem(source.name, places, problem) for problem in problems))
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        raise GrammarError(f"{source.name} has {errors} error{'s' if errors > 1 else ''}")
    if problems and strict:
        raise GateError(f"{source.name} has {len(problems)} warning{'s' if len(problems) > 1 else ''}")


@command(
    name="format",
    examples=(
        ("Show it in canonical form.", "llamacli grammar format mine.gbnf"),
        ("Hold a grammar to it in CI.", "llamacli grammar format --check mine.gbnf"),
    ),
)
def format_(
    app: AppContext,
    file: GrammarArgument,
    *,
    check: Annotated[
        bool, option("--check", help="Only tell whether it is in canonical form; exit status 8 if not.", environment=False)
    ] = False,
    write: Annotated[bool, option("--write", help="Write the file again.", environment=False)] = False,
    root: RootOption = "root",
) -> None:
    """Write a grammar in canonical form.

    One space between items, long rules broken at their alternatives. Comments are kept, and the language stays the same.
    """
    from llamacli.grammar.formatter import format_grammar

    if check and write:
        raise UsageError("--check and --write cannot be combined")
    source = read_grammar(app.console, file)
    parse_grammar(app.console, source, root)
    formatted = format_grammar(source.text, root)
    if check:
        if formatted != source.text:
            raise GateError(f"{source.name} is not in canonical form", hint="llamacli grammar format --write changes it")
    elif write:
        path = Path(file)
        if file == STDIN or not path.exists():
            raise UsageError(f"{source.name} is no file to write to")
        if formatted != source.text:
            write_file(path, formatted)
            app.console.note(f"{source.name} is in canonical form now")
    else:
        app.console.show(formatted)


@command(
    examples=(
        ("What does it say?", "llamacli grammar explain mine.gbnf"),
        ("Draw it.", "llamacli grammar explain mine.gbnf --diagram mine.svg"),
    )
)
def explain(
    app: AppContext,
    file: GrammarArgument,
    *,
    diagram: Annotated[
        Path | None, option("--diagram", metavar="FILE.svg", help="Write railroad diagrams as well.", environment=False)
    ] = None,
    root: RootOption = "root",
    json: JsonOption = False,
) -> None:
    """Say in words what the rules of a grammar stand for."""
    from dataclasses import asdict

    from llamacli.grammar.explain import explain as in_words
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
        app.console.show(format_rules(rules))


@command(
    examples=(
        ("Which grammars are built in?", "llamacli grammar show"),
        ("Begin with one of them.", "llamacli grammar show json > mine.gbnf"),
    )
)
def show(
    app: AppContext,
    name: Annotated[str | None, argument(metavar="NAME", help="A built-in grammar; without it, all are listed.")] = None,
) -> None:
    """Write a built-in grammar, or list them."""
    from llamacli.grammar.builtins import builtin, builtin_names

    if name is None:
        for each in builtin_names():
            known = builtin(each)
            app.console.write(f"{each:<16} {known.summary if known else ''}\n")
        return
    found = builtin(name)
    if found is None:
        raise UsageError(f"no such built-in grammar: {name}", hint=f"built in are {', '.join(builtin_names())}")
    app.console.write(found.text)


def _texts(app: AppContext, given: tuple[str, ...], files: tuple[Path, ...], *, stdin_is_free: bool) -> list[Source]:
    """The texts to check, each with a name: the arguments, then the files, else what is piped in."""
    console = app.console
    asked = STDIN in given or any(str(file) == STDIN for file in files)
    if asked and not stdin_is_free:
        raise UsageError("the grammar and a text cannot both come from standard input")
    piped = console.read_input() if asked or (not given and not files and stdin_is_free and console.has_piped_input) else None
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
    """The verdict. A text from a file ends in a newline that may not be meant: then it also counts without."""
    match = matcher.match(source.text)
    if not match.matches and not source.name.startswith("text ") and source.text.endswith("\n"):
        shorter = matcher.match(source.text.removesuffix("\n").removesuffix("\r"))
        return shorter if shorter.matches else match
    return match


grammar = group(
    "grammar", check, lint, format_, from_schema, from_regex, from_choices, from_pydantic, from_examples, sample, explain,
    allowed, run_cases, show,
    help="Write, check and understand grammars.\n\nA grammar (GBNF) or a JSON schema holds a model's answer to a form. "
    "Whatever is written here goes into `llamacli run --grammar-file` as it is.",
    examples=(
        ("Where does this answer break the form?", "llamacli grammar check mine.gbnf --input answer.txt"),
        ("From a schema to a grammar.", "llamacli grammar from-schema schema.json > schema.gbnf"),
    ),
)  # fmt: skip
