"""`llamacli grammar from-...`: grammars made from schemas, regular expressions, choices, pydantic models and examples."""

from __future__ import annotations

import io
import json as json_format
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.files import STDIN, read_text_file
from llamacli.cli.framework.grammar_files import read_json, read_lines
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import GateError, GrammarError, UsageError

if TYPE_CHECKING:
    from llamacli.cli.framework.console import Console

StrictOption = Annotated[
    bool, option("--strict", help="Exit status 8 if the grammar cannot hold a text to all of the schema.", environment=False)
]


@command(
    name="from-schema",
    examples=(("Hold a model to a schema.", "llamacli grammar from-schema schema.json > schema.gbnf"),),
)
def from_schema(
    app: AppContext,
    file: Annotated[str, argument(metavar="FILE", help="A JSON schema; - is standard input.")],
    *,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Make a grammar from a JSON schema, by llama.cpp's converter.

    Whatever the converter does not enforce is listed on standard error, with its place in the schema.
    """
    _write_schema(app, read_json(app.console, file), strict=strict, json=json)


@command(
    name="from-regex",
    examples=(("A date.", r"llamacli grammar from-regex '\d{4}-\d\d-\d\d' > date.gbnf"),),
)
def from_regex(
    app: AppContext,
    regex: Annotated[str, argument(metavar="RE", help="A regular expression as in Python; the whole text has to match.")],
) -> None:
    r"""Make a grammar from a regular expression.

    \d, \w and \s stand for ASCII characters. Look-around, back references and word borders have no grammar.
    """
    from llamacli.grammar import parse
    from llamacli.grammar.regex import from_regex as convert

    text = convert(regex)
    parse(text)
    app.console.show(text)


@command(
    name="from-choices",
    examples=(
        ("One of three words.", "llamacli grammar from-choices red green blue > color.gbnf"),
        ("One of the lines of a file.", "llamacli grammar from-choices --input countries.txt > country.gbnf"),
    ),
)
def from_choices(
    app: AppContext,
    text: Annotated[tuple[str, ...], argument(metavar="TEXT", help="The texts to choose from.")] = (),
    *,
    input: Annotated[  # noqa: A002
        tuple[Path, ...],
        option("--input", metavar="FILE", help="A file with a text on each line; - is standard input.", environment=False),
    ] = (),
) -> None:
    """Make a grammar that matches one of some texts.

    Many texts become a tree that branches where they differ, which llama.cpp follows faster than a long list.
    """
    from llamacli.grammar import parse
    from llamacli.grammar.choices import from_choices as convert

    piped = not text and not input and app.console.has_piped_input
    grammar = convert([*text, *read_lines(app.console, (Path(STDIN),) if piped else input)])
    parse(grammar)
    app.console.show(grammar)


@command(
    name="from-pydantic",
    examples=(("A model of your own.", "llamacli grammar from-pydantic shop.orders:Order > order.gbnf"),),
)
def from_pydantic(
    app: AppContext,
    model: Annotated[str, argument(metavar="MODULE:MODEL", help="A pydantic model; its module is imported.")],
    *,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Make a grammar from a pydantic model.

    The module is looked for in the current directory first, and its code runs. Whatever the converter does not enforce is
    listed on standard error.
    """
    _write_schema(app, _pydantic_schema(app.console, model), strict=strict, json=json)


@command(
    name="from-examples",
    examples=(
        ("From answers to a grammar.", "llamacli grammar from-examples answers.jsonl > answer.gbnf"),
        ("Only the schema.", "llamacli grammar from-examples --schema answers.jsonl > schema.json"),
    ),
)
def from_examples(
    app: AppContext,
    file: Annotated[str, argument(metavar="FILE", help="JSON documents, or an array of them; - is standard input.")],
    *,
    schema: Annotated[bool, option("--schema", help="Write the JSON schema and not the grammar.", environment=False)] = False,
    whole: Annotated[
        bool, option("--whole", help="An array is an example itself, and not a list of examples.", environment=False)
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a grammar from examples of JSON.

    It is that of the narrowest JSON schema that fits all examples: members that are in every example are required, others
    optional; strings become dates, times, UUIDs or a choice of few values where all examples agree.
    """
    from llamacli.grammar.inference import infer_schema, read_examples

    text = app.console.read_input() if file == STDIN else read_text_file(Path(file))
    inferred = infer_schema(read_examples(text, whole=whole))
    if schema:
        app.console.show(json_format.dumps(inferred, indent=2, ensure_ascii=False) + "\n")
    else:
        _write_schema(app, inferred, strict=False, json=json)


def _write_schema(app: AppContext, schema: Any, *, strict: bool, json: bool) -> None:
    """The grammar of a schema on standard output, and on standard error what it does not hold a text to."""
    from dataclasses import asdict

    from llamacli.engine.constraint.schema import schema_to_grammar
    from llamacli.grammar.keywords import not_enforced
    from llamacli.render.grammar.text import format_not_enforced

    text = schema_to_grammar(schema)
    findings = not_enforced(schema)
    if json:
        document = {"grammar": text, "not_enforced": [asdict(finding) for finding in findings]}
        app.console.write(json_format.dumps(document, indent=2) + "\n")
    else:
        app.console.show(text)
        for finding in findings:
            app.console.warn(format_not_enforced(finding))
    if findings and strict:
        raise GateError(f"{len(findings)} keywords of the schema are not enforced")


def _pydantic_schema(console: Console, reference: str) -> Any:
    """The JSON schema of `module:Model`. Raises UsageError where there is no such model."""
    import importlib

    module_name, colon, name = reference.partition(":")
    if not (module_name and colon and name):
        raise UsageError(f"{reference} is not MODULE:MODEL", hint="for example shop.orders:Order")
    said = io.StringIO()
    sys.path.insert(0, "")
    try:
        with redirect_stdout(said):
            target: Any = importlib.import_module(module_name)
        for part in name.split("."):
            target = getattr(target, part)
    except ModuleNotFoundError as error:
        raise UsageError(f"cannot import {module_name}: {error}") from error
    except AttributeError as error:
        raise UsageError(f"{module_name} has no {name}: {error}") from error
    except Exception as error:
        raise UsageError(f"importing {module_name} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove("")
        console.write_error(said.getvalue())  # what the module prints is not part of the grammar
    make = getattr(target, "model_json_schema", None) or getattr(target, "json_schema", None)
    if not callable(make):
        raise UsageError(f"{reference} is no pydantic model", hint="it has no model_json_schema()")
    try:
        return make()
    except Exception as error:
        raise GrammarError(f"{reference} has no JSON schema: {error}") from error
