"""What `run` holds an answer to: read and checked before any model is loaded, and checked again on what comes out."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamacli.cli.framework.files import read_text_file
from llamacli.cli.run.options import ConstraintOptions
from llamacli.errors import ConstraintError, GrammarSyntaxError, SchemaError, UsageError

if TYPE_CHECKING:
    from llamacli.cli.framework.console import Console
    from llamacli.engine.constraint.matcher import Constraint
    from llamacli.grammar.keywords import NotEnforced

_TOO_LONG = "{} holds a number of too many digits"

_NAMES = {
    "json_schema": "-j",
    "json_schema_file": "-jf",
    "grammar": "--grammar",
    "grammar_file": "--grammar-file",
    "regex": "--regex",
    "choices": "--choices",
}


@dataclass(frozen=True, slots=True)
class Held:
    """A constraint, and the JSON schema that it stands for, if it is one, with what of it cannot be enforced."""

    constraint: Constraint
    schema: Any = None
    has_schema: bool = False
    not_enforced: tuple[NotEnforced, ...] = ()

    def check(self, content: str) -> None:
        """Whether an answer that is complete is what was asked for: with a schema, JSON that fits it.

        Raises:
            ConstraintError: it is not.
        """
        if self.has_schema:
            check_json(content, self.schema)


def read_constraint(console: Console, options: ConstraintOptions) -> Held | None:
    """The constraint that the options name, checked, or None. What of a schema cannot be enforced is said.

    Raises:
        UsageError: more than one, or a file that cannot be read.
        GrammarError: it is invalid; where, is shown on standard error.
    """
    given = [name for name in _NAMES if getattr(options, name) not in (None, ())]
    if not given:
        return None
    if len(given) > 1:
        raise UsageError(f"{' and '.join(_NAMES[name] for name in given)} exclude each other")
    if options.json_schema is not None:
        return _from_schema(console, "-j", options.json_schema, strict=options.strict)
    if options.json_schema_file is not None:
        text = _read(console, options.json_schema_file)
        return _from_schema(console, str(options.json_schema_file), text, strict=options.strict)
    grammar = _grammar_text(console, options)
    if options.grammar is None and options.grammar_file is None:
        from llamacli.grammar import check_safe

        check_safe(grammar)
    return Held(_constraint(grammar))


def _grammar_text(console: Console, options: ConstraintOptions) -> str:
    from llamacli.cli.framework.grammar_files import Source, parse_grammar, read_grammar

    if options.regex is not None:
        from llamacli.grammar.regex import from_regex

        return _located(console, "--regex", options.regex, lambda: from_regex(options.regex or ""))
    if options.choices:
        from llamacli.grammar.choices import from_choices

        return from_choices(options.choices)
    if options.grammar is not None:
        source = Source("--grammar", options.grammar)
    else:
        source = read_grammar(console, options.grammar_file or "")
    parse_grammar(console, source, "root")
    return source.text


def _constraint(grammar: str) -> Constraint:
    """A grammar that was checked."""
    from llamacli.engine.constraint.matcher import Constraint

    return Constraint(grammar=grammar, trusted=True)


def _from_schema(console: Console, name: str, text: str, *, strict: bool) -> Held:
    try:
        held = hold_to_schema(text)
    except SchemaError as error:
        raise _shown(console, name, text, error.place or 0, error.message) from error
    tell_not_enforced(console, held)
    return _strict(held) if strict else held


@lru_cache(maxsize=64)
def hold_to_schema(text: str, *, strict: bool = False) -> Held:
    """What a schema holds an answer to. Rows of one schema share it.

    Raises:
        SchemaError: it is no JSON, no schema, or has no grammar, or with `strict` something of it cannot be enforced.
    """
    from llamacli.engine.constraint.schema import schema_to_grammar
    from llamacli.grammar.keywords import not_enforced

    schema = _read_schema(text)
    try:
        grammar = schema_to_grammar(schema)
    except SchemaError as error:
        raise SchemaError(error.message, hint=error.hint, place=_place_of(text, schema, error.message)) from error
    held = Held(_constraint(grammar), schema, has_schema=True, not_enforced=tuple(not_enforced(schema)))
    return _strict(held) if strict else held


def _strict(held: Held) -> Held:
    if held.not_enforced:
        names = ", ".join(dict.fromkeys(finding.keyword for finding in held.not_enforced))
        hint = "without --strict the answer is checked when it is complete"
        raise SchemaError(f"the schema cannot be enforced: {names}", hint=hint)
    return held


def tell_not_enforced(console: Console, held: Held, prefix: str = "") -> None:
    """Warns of what of a schema cannot be enforced."""
    from llamacli.render.grammar.text import format_not_enforced

    for finding in held.not_enforced:
        console.warn(prefix + format_not_enforced(finding))


def _place_of(text: str, schema: Any, message: str) -> int:
    """Where in a schema's text the JSON pointer leads that a message of llama.cpp's names, or what it is about stands."""
    from llamacli.engine.constraint.schema import find_fault
    from llamacli.grammar.json_places import find_value

    pointer = re.search(r"^at #/(.*?): ", message)
    return find_value(text, pointer[1].split("/") if pointer else find_fault(schema, message))


def _long_number(text: str) -> int:
    """Where a number begins that has too many digits."""
    number = re.search(rf"[0-9]{{{sys.get_int_max_str_digits() + 1}}}", text)
    return number.start() if number else 0


def _read_schema(text: str) -> Any:
    """The schema, which is JSON and fits the rules of JSON schemas."""
    import jsonschema

    def refuse(constant: str) -> Any:
        raise SchemaError(f"this is no JSON: {constant} is no number", place=text.find(constant))

    try:
        schema = json.loads(text, parse_constant=refuse)
        if not isinstance(schema, dict | bool):
            raise SchemaError("this is no JSON schema, which is an object", place=0)
        if isinstance(schema, dict) and not isinstance(schema.get("$schema", ""), str):
            raise SchemaError("this is no JSON schema: its $schema is no text", place=0)
        jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except json.JSONDecodeError as error:
        raise SchemaError(f"this is no JSON: {error.msg}", place=error.pos) from error
    except ValueError as error:
        raise SchemaError(_TOO_LONG.format("the schema"), place=_long_number(text)) from error
    except jsonschema.SchemaError as error:
        from llamacli.grammar.json_places import find_value

        place = find_value(text, list(error.absolute_path))
        raise SchemaError(f"this is no JSON schema: {error.message}", place=place) from error
    except RecursionError:
        raise SchemaError("the schema is nested too deep") from None
    return schema


def _located(console: Console, name: str, text: str, work: Callable[[], str]) -> str:
    """`work()`; where its syntax error is, is shown."""
    try:
        return work()
    except GrammarSyntaxError as error:
        index = len(text.encode("utf-8", "surrogatepass")[: error.offset].decode("utf-8", "surrogatepass"))
        raise _shown(console, name, text, index, error.message.partition(": ")[2]) from error


def _shown(console: Console, name: str, text: str, index: int, message: str) -> SchemaError:
    """The error for a place in a text, after the line was shown with a caret."""
    from llamacli.grammar.places import Places

    places = Places(text)
    place = places.at(index)
    for line in places.excerpt(index):
        console.write_error(f"    {line}\n")
    return SchemaError(f"{name}:{place.line}:{place.column}: {message}")


def _read(console: Console, path: Path) -> str:
    return console.read_input() if str(path) == "-" else read_text_file(path)


def check_json(text: str, schema: Any) -> None:
    """Whether a text is JSON that fits a schema. References to other documents are never fetched.

    Raises:
        ConstraintError: it is not; where, is said as a JSON pointer.
    """
    import jsonschema
    import referencing

    try:
        document = json.loads(text)
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        nowhere: referencing.Registry[Any] = referencing.Registry()
        wrong: Any = jsonschema.exceptions.best_match(kind(schema, registry=nowhere).iter_errors(document))
    except json.JSONDecodeError as error:
        raise ConstraintError(f"the answer is no JSON: {error}") from error
    except ValueError as error:
        raise ConstraintError(_TOO_LONG.format("the answer")) from error
    except RecursionError:
        raise ConstraintError("the answer is nested too deep to be checked") from None
    except referencing.exceptions.Unresolvable as error:
        raise ConstraintError(f"the answer cannot be checked: the schema refers to {error.ref}") from error
    if wrong is not None:
        pointer = "".join(f"/{part}" for part in wrong.absolute_path)
        raise ConstraintError(f"the answer does not fit the schema at #{pointer}: {wrong.message}")
