"""JSON schemas of requests, as constraints."""

from __future__ import annotations

import json
from typing import Any

from llamacli.engine.constraint.answer_constraint import AnswerConstraint, schema_constraint
from llamacli.errors import LlamacliError, UsageError


def json_constraint(schema: Any, *, strict: bool) -> AnswerConstraint:
    """Return the constraint of a JSON schema, or of its text. The answer has the properties in the order of the schema.

    Raises:
        SchemaError: if it is not a schema; with `strict` also if a part of it cannot be enforced.
        UsageError: if it contains a number that JSON cannot have.
    """
    try:
        return schema_constraint(schema if isinstance(schema, str) else json.dumps(schema), strict=strict)
    except LlamacliError:
        raise
    except ValueError as error:
        raise UsageError("the schema contains a number with too many digits") from error
