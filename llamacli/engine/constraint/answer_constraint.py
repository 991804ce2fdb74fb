"""Constraints of answers, checked before a model is loaded, and the check of a complete answer against its JSON schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from llamacli.engine.constraint.guidance import Constraint
from llamacli.errors import ConstraintError, InvalidJSONError, SchemaError
from llamacli.grammar.schema.not_enforced import NotEnforced
from llamacli.json_text import parse_json
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True)
class AnswerConstraint:
    """A constraint, with the JSON schema behind it, if there is one, and what the grammar cannot enforce of that schema.

    `checks_grammar`: a complete answer is checked against the grammar, too, because nothing here has enforced it.
    """

    grammar: Constraint
    schema: Any = None
    has_schema: bool = False
    not_enforced: tuple[NotEnforced, ...] = ()
    checks_grammar: bool = False

    def check(self, content: str) -> None:
        """Check a complete answer against the schema, if there is one.

        Raises:
            ConstraintError: if it is not JSON that fits the schema, or with `checks_grammar` not text of the grammar.
        """
        if self.checks_grammar:
            _check_grammar(content, self.grammar)
        if self.has_schema:
            check_json(content, self.schema)


def grammar_constraint(grammar: str, *, trusted: bool = False) -> AnswerConstraint:
    """Return the constraint of a GBNF text. `trusted`: it was checked already."""
    return AnswerConstraint(Constraint(grammar=grammar, trusted=trusted))


@lru_cache(maxsize=64)
def schema_constraint(text: str, *, strict: bool = False, compact: bool = False) -> AnswerConstraint:
    """Return the constraint of a JSON schema's text. Cached, as rows often share a schema. `compact`: see `convert_schema`.

    Raises:
        SchemaError: if it is not JSON, not a schema, or has no grammar; with `strict` also if a part cannot be enforced.
    """
    from llamacli.engine.constraint.schema import convert_schema

    schema, path = _read_schema(text)
    try:
        conversion = convert_schema(schema, compact=compact)
    except SchemaError as error:
        raise SchemaError(error.message, hint=error.hint, place=_position(text, path, error.message)) from error
    constraint = AnswerConstraint(
        Constraint(grammar=conversion.grammar, trusted=True), schema, has_schema=True, not_enforced=conversion.not_enforced
    )
    return require_enforced(constraint) if strict else constraint


def require_enforced(constraint: AnswerConstraint) -> AnswerConstraint:
    """Return the constraint. Raises SchemaError if the grammar does not enforce all of its schema."""
    if constraint.not_enforced:
        names = ", ".join(dict.fromkeys(finding.keyword for finding in constraint.not_enforced))
        hint = "without strict the answer is checked when it is complete"
        raise SchemaError(f"the schema cannot be enforced: {names}", hint=hint, parameter="strict")
    return constraint


def _position(text: str, path: Sequence[str], message: str) -> int:
    """Return the index in a text to which the JSON pointer of a message leads, from the schema at `path`."""
    from llamacli.grammar.schema.json_location import find_value

    pointer = re.search(r"^at #((?:/[^ ]*)?): ", message)
    steps = pointer[1].split("/")[1:] if pointer else []
    return find_value(text, [*path, *(step.replace("~1", "/").replace("~0", "~") for step in steps)])


def _read_schema(text: str) -> tuple[Any, tuple[str, ...]]:
    """Parse a schema, which may be wrapped as in OpenAI's requests, and check it against its metaschema.

    Return the schema, and the keys that lead to it.
    """
    import jsonschema

    from llamacli.grammar.schema.wrappers import unwrap

    path: tuple[str, ...] = ()
    try:
        schema, path = unwrap(parse_json(text))
        if not isinstance(schema, dict | bool):
            raise SchemaError("invalid JSON schema: it is not an object", place=0)
        if isinstance(schema, dict) and not isinstance(schema.get("$schema", ""), str):
            raise SchemaError("invalid JSON schema: $schema is not a string", place=0)
        jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except InvalidJSONError as error:
        raise SchemaError(f"invalid JSON: {error.reason}", place=error.offset) from error
    except jsonschema.SchemaError as error:
        from llamacli.grammar.schema.json_location import find_value

        place = find_value(text, [*path, *error.absolute_path])
        raise SchemaError(f"invalid JSON schema: {error.message}", place=place) from error
    except RecursionError:
        raise SchemaError("the schema is nested too deeply") from None
    return schema, path


def _check_grammar(text: str, constraint: Constraint) -> None:
    from llamacli.grammar.gbnf import parse
    from llamacli.grammar.matcher import Matcher

    if not Matcher(parse(constraint.grammar, constraint.root).with_tokens_as_text()).matches(text):
        raise ConstraintError("the answer does not fit the grammar")


def check_json(text: str, schema: Any, subject: str = "the answer") -> None:
    """Check that text is JSON that fits a schema, its formats included. References to other documents are never fetched.

    `subject` names the text in messages.

    Raises:
        ConstraintError: if not; the message has the JSON pointer.
    """
    from llamacli.grammar.schema.validation import find_mismatch

    try:
        mismatch = find_mismatch(parse_json(text, source=subject), schema)
    except InvalidJSONError as error:
        raise ConstraintError(error.message) from error
    except SchemaError as error:
        raise ConstraintError(f"{subject} cannot be checked: {error.message}") from error
    if mismatch is not None:
        raise ConstraintError(f"{subject} does not fit the schema at {mismatch}")
