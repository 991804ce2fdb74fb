"""Constraints of answers, checked before a model is loaded, and the check of a complete answer against its JSON schema."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llamacli.engine.constraint.matcher import Constraint
from llamacli.errors import ConstraintError, SchemaError

if TYPE_CHECKING:
    from llamacli.grammar.schema.converter import NotEnforced

_TOO_LONG = "{} contains a number with too many digits"


@dataclass(frozen=True, slots=True)
class AnswerConstraint:
    """A constraint, with the JSON schema behind it, if there is one, and what the grammar cannot enforce of that schema."""

    grammar: Constraint
    schema: Any = None
    has_schema: bool = False
    not_enforced: tuple[NotEnforced, ...] = ()

    def check(self, content: str) -> None:
        """Check a complete answer against the schema, if there is one.

        Raises:
            ConstraintError: if it is not JSON that fits the schema.
        """
        if self.has_schema:
            check_json(content, self.schema)


def grammar_constraint(grammar: str, *, trusted: bool = False) -> AnswerConstraint:
    """Return the constraint of a GBNF text. `trusted`: it was checked already."""
    return AnswerConstraint(Constraint(grammar=grammar, trusted=trusted))


@lru_cache(maxsize=64)
def schema_constraint(text: str, *, strict: bool = False) -> AnswerConstraint:
    """Return the constraint of a JSON schema's text. Cached, as rows often share a schema.

    Raises:
        SchemaError: if it is not JSON, not a schema, or has no grammar; with `strict` also if a part cannot be enforced.
    """
    from llamacli.engine.constraint.schema import schema_to_grammar
    from llamacli.grammar.schema.converter import not_enforced

    schema = _read_schema(text)
    try:
        grammar = schema_to_grammar(schema)
    except SchemaError as error:
        raise SchemaError(error.message, hint=error.hint, place=_position(text, error.message)) from error
    constraint = AnswerConstraint(
        Constraint(grammar=grammar, trusted=True), schema, has_schema=True, not_enforced=tuple(not_enforced(schema))
    )
    return require_enforced(constraint) if strict else constraint


def require_enforced(constraint: AnswerConstraint) -> AnswerConstraint:
    """Return the constraint. Raises SchemaError if the grammar does not enforce all of its schema."""
    if constraint.not_enforced:
        names = ", ".join(dict.fromkeys(finding.keyword for finding in constraint.not_enforced))
        hint = "without strict the answer is checked when it is complete"
        raise SchemaError(f"the schema cannot be enforced: {names}", hint=hint, parameter="strict")
    return constraint


def _position(text: str, message: str) -> int:
    """Return the index in a schema's text to which the JSON pointer of a message leads."""
    from llamacli.grammar.schema.json_location import find_value

    pointer = re.search(r"^at #((?:/[^ ]*)?): ", message)
    steps = pointer[1].split("/")[1:] if pointer else []
    return find_value(text, [step.replace("~1", "/").replace("~0", "~") for step in steps])


def _long_number(text: str) -> int:
    """The position of the first number with too many digits."""
    number = re.search(rf"[0-9]{{{sys.get_int_max_str_digits() + 1}}}", text)
    return number.start() if number else 0


def _read_schema(text: str) -> Any:
    """Parse a schema and check it against its metaschema."""
    import jsonschema

    def refuse(constant: str) -> Any:
        raise SchemaError(f"invalid JSON: {constant} is not a JSON number", place=text.find(constant))

    try:
        schema = json.loads(text, parse_constant=refuse)
        if not isinstance(schema, dict | bool):
            raise SchemaError("invalid JSON schema: it is not an object", place=0)
        if isinstance(schema, dict) and not isinstance(schema.get("$schema", ""), str):
            raise SchemaError("invalid JSON schema: $schema is not a string", place=0)
        jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except json.JSONDecodeError as error:
        raise SchemaError(f"invalid JSON: {error.msg}", place=error.pos) from error
    except ValueError as error:
        raise SchemaError(_TOO_LONG.format("the schema"), place=_long_number(text)) from error
    except jsonschema.SchemaError as error:
        from llamacli.grammar.schema.json_location import find_value

        place = find_value(text, list(error.absolute_path))
        raise SchemaError(f"invalid JSON schema: {error.message}", place=place) from error
    except RecursionError:
        raise SchemaError("the schema is nested too deeply") from None
    return schema


def check_json(text: str, schema: Any, subject: str = "the answer") -> None:
    """Check that text is JSON that fits a schema. References to other documents are never fetched.

    `subject` names the text in messages.

    Raises:
        ConstraintError: if not; the message has the JSON pointer.
    """
    import jsonschema
    import referencing

    try:
        document = json.loads(text)
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        nowhere: referencing.Registry[Any] = referencing.Registry()
        wrong: Any = jsonschema.exceptions.best_match(kind(schema, registry=nowhere).iter_errors(document))
    except json.JSONDecodeError as error:
        raise ConstraintError(f"{subject} is not valid JSON: {error}") from error
    except ValueError as error:
        raise ConstraintError(_TOO_LONG.format(subject)) from error
    except RecursionError:
        raise ConstraintError(f"{subject} is nested too deeply to be checked") from None
    except referencing.exceptions.Unresolvable as error:
        raise ConstraintError(f"{subject} cannot be checked: the schema refers to {error.ref}") from error
    if wrong is not None:
        pointer = "".join(f"/{part}" for part in wrong.absolute_path)
        raise ConstraintError(f"{subject} does not fit the schema at #{pointer}: {wrong.message}")
