"""The commands `llamacli grammar from-...`: make grammars from schemas, regexes, choices, pydantic models and examples."""

from __future__ import annotations

import io
import json as json_format
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.files import STDIN, read_text_file
from llamacli.cli.framework.inputs.grammar_files import read_json, read_lines
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import GateError, GrammarError, UsageError
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.cli.framework.console import Console

StrictOption = Annotated[
    bool, option("--strict", help="Exit status 8 if the grammar does not enforce all of the schema.", environment=False)
]

CompactOption = Annotated[
    bool,
    option("--compact", help="Allow no blanks and line ends between the parts of JSON.", environment=False),
]


@command(
    name="from-schema",
    examples=(("Convert a schema.", "llamacli grammar from-schema schema.json > schema.gbnf"),),
)
def from_schema(
    app: AppContext,
    file: Annotated[str, argument(metavar="FILE", help="JSON schema; - is standard input.")],
    *,
    strict: StrictOption = False,
    compact: CompactOption = False,
    json: JsonOption = False,
) -> None:
    """Make a grammar from a JSON schema.

    Keywords that the converter does not enforce are listed on standard error, with their paths in the schema.
    """
    _write_schema(app, read_json(app.console, file), strict=strict, compact=compact, json=json)


@command(
    name="from-regex",
    examples=(("Match a date.", r"llamacli grammar from-regex '\d{4}-\d\d-\d\d' > date.gbnf"),),
)
def from_regex(
    app: AppContext,
    regex: Annotated[str, argument(metavar="RE", help="Regular expression in Python's syntax; the whole text has to match.")],
) -> None:
    r"""Make a grammar from a regular expression.

    \d, \w and \s match ASCII characters only. Look-around, back references and word boundaries are not supported.
    """
    from llamacli.grammar.gbnf import parse
    from llamacli.grammar.regex import from_regex as convert

    text = convert(regex)
    parse(text)
    app.console.show(text)


@command(
    name="from-choices",
    examples=(
        ("Choose one of three words.", "llamacli grammar from-choices red green blue > color.gbnf"),
        ("Choose one of the lines of a file.", "llamacli grammar from-choices --input countries.txt > country.gbnf"),
    ),
)
def from_choices(
    app: AppContext,
    text: Annotated[tuple[str, ...], argument(metavar="TEXT", help="Texts to choose from.")] = (),
    *,
    input: Annotated[  # noqa: A002
        tuple[Path, ...],
        option("--input", metavar="FILE", help="File with one text per line; - is standard input.", environment=False),
    ] = (),
) -> None:
    """Make a grammar that matches one of several texts.

    Many texts become a tree that branches where they differ, which is faster in llama.cpp than a long list.
    """
    from llamacli.grammar.choices import from_choices as convert
    from llamacli.grammar.gbnf import parse

    piped = not text and not input and app.console.has_piped_input
    grammar = convert([*text, *read_lines(app.console, (Path(STDIN),) if piped else input)])
    parse(grammar)
    app.console.show(grammar)


@command(
    name="from-pydantic",
    examples=(("Convert a pydantic model.", "llamacli grammar from-pydantic shop.orders:Order > order.gbnf"),),
)
def from_pydantic(
    app: AppContext,
    model: Annotated[str, argument(metavar="MODULE:MODEL", help="Pydantic model; its module is imported.")],
    *,
    strict: StrictOption = False,
    compact: CompactOption = False,
    json: JsonOption = False,
) -> None:
    """Make a grammar from a pydantic model.

    Imports the module, from the current directory first, and so runs its code. Keywords that the converter does not enforce
    are listed on standard error.
    """
    _write_schema(app, _pydantic_schema(app.console, model), strict=strict, compact=compact, json=json)


@command(
    name="from-examples",
    examples=(
        ("Make a grammar from answers.", "llamacli grammar from-examples answers.jsonl > answer.gbnf"),
        ("Write only the schema.", "llamacli grammar from-examples --schema answers.jsonl > schema.json"),
    ),
)
def from_examples(
    app: AppContext,
    file: Annotated[str, argument(metavar="FILE", help="JSON documents, or an array of them; - is standard input.")],
    *,
    schema: Annotated[
        bool, option("--schema", help="Write the JSON schema instead of the grammar.", environment=False)
    ] = False,
    whole: Annotated[bool, option("--whole", help="Treat an array as one example, not as a list.", environment=False)] = False,
    compact: CompactOption = False,
    json: JsonOption = False,
) -> None:
    """Make a grammar from examples of JSON.

    Infers the narrowest JSON schema that fits all examples: members in every example are required, others optional; strings
    become dates, times, UUIDs or an enumeration if all examples agree.
    """
    from llamacli.grammar.schema.inference import infer_schema, read_examples

    text = app.console.read_input() if file == STDIN else read_text_file(Path(file))
    inferred = infer_schema(read_examples(text, whole=whole))
    if schema:
        app.console.show(json_format.dumps(inferred, indent=2, ensure_ascii=False) + "\n")
    else:
        _write_schema(app, inferred, strict=False, compact=compact, json=json)


def _write_schema(app: AppContext, schema: Any, *, strict: bool, compact: bool, json: bool) -> None:
    """Write the grammar of a schema to standard output, and the keywords that it does not enforce to standard error."""
    from dataclasses import asdict

    from llamacli.engine.constraint.schema import convert_schema
    from llamacli.render.grammar.text import format_not_enforced

    conversion = convert_schema(schema, compact=compact)
    text, findings = conversion.grammar, conversion.not_enforced
    if json:
        document = {"grammar": text, "not_enforced": [asdict(finding) for finding in findings]}
        app.console.write(json_format.dumps(document, indent=2) + "\n")
    else:
        app.console.show(text)
        for finding in findings:
            app.console.warn(format_not_enforced(finding))
    if findings and strict:
        verb = "is" if len(findings) == 1 else "are"
        raise GateError(f"{counted(len(findings), 'keyword')} of the schema {verb} not enforced")


def _pydantic_schema(console: Console, reference: str) -> Any:
    """Return the JSON schema of `module:Model`.

    Raises:
        UsageError: if the model cannot be imported.
        GrammarError: if it has no JSON schema.
    """
    import importlib

    module_name, colon, name = reference.partition(":")
    if not (module_name and colon and name):
        raise UsageError(f"{reference} is not MODULE:MODEL", hint="for example shop.orders:Order")
    output = io.StringIO()
    sys.path.insert(0, "")
    try:
        with redirect_stdout(output):
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
        console.write_error(output.getvalue())  # the module's output is not part of the grammar
    make = getattr(target, "model_json_schema", None) or getattr(target, "json_schema", None)
    if not callable(make):
        raise UsageError(f"{reference} is not a pydantic model", hint="it needs a method model_json_schema()")
    try:
        return make()
    except Exception as error:
        raise GrammarError(f"{reference} has no JSON schema: {error}") from error
