"""Validation of JSON documents against schemas, without fetching references and bounded in time.

Patterns come from servers, rows and requests, and Python's `re` can backtrack without end (`(a+)+$`): `regex` has a time limit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import jsonschema
import referencing
import regex

from llamacli.errors import SchemaError
from llamacli.grammar.schema.formats import format_checker

SECONDS = 2.0
"""Time limit for the patterns of one document."""


class _Overtime(Exception):
    """A pattern took too long."""


def find_mismatch(document: Any, schema: Any) -> str | None:
    """Return why a document does not fit a schema, with its location as a JSON pointer; None if it fits.

    Raises:
        SchemaError: if that cannot be decided: references to other documents, deep nesting, or patterns that take too long.
    """
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    nowhere: referencing.Registry[Any] = referencing.Registry()
    validator = _bounded(kind)(schema, registry=nowhere, format_checker=format_checker())
    _running.deadline = time.monotonic() + SECONDS
    try:
        wrong: Any = jsonschema.exceptions.best_match(validator.iter_errors(document))
    except RecursionError:
        raise SchemaError("nested too deeply to be checked") from None
    except referencing.exceptions.Unresolvable as error:
        raise SchemaError(f"the schema refers to {error.ref}") from error
    except regex.error as error:
        raise SchemaError(f"the schema has an invalid pattern: {error}") from error
    except _Overtime as error:
        raise SchemaError(f"the pattern {error.args[0]!r} takes longer than {SECONDS:.0f} s") from error
    if wrong is None:
        return None
    pointer = "".join(f"/{part}" for part in wrong.absolute_path)
    return f"#{pointer}: {wrong.message}"


_running = threading.local()
"""The deadline of the validation that runs in a thread."""


@lru_cache(maxsize=8)
def _bounded(kind: Any) -> Any:
    """The validator with patterns that are bounded in time."""
    return jsonschema.validators.extend(
        kind,
        {"pattern": _pattern, "patternProperties": _pattern_properties, "additionalProperties": _additional_properties},
    )


def _search(pattern: str, text: str) -> bool:
    try:
        return regex.search(pattern, text, timeout=max(_running.deadline - time.monotonic(), 1e-3)) is not None
    except TimeoutError:
        raise _Overtime(pattern[:60]) from None


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "string") and not _search(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in patterns.items():
        for name, value in instance.items():
            if _search(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, additional: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extras = [name for name in instance if name not in known and not any(_search(pattern, name) for pattern in patterns)]
    if validator.is_type(additional, "object"):
        for name in extras:
            yield from validator.descend(instance[name], additional, path=name)
    elif not additional and extras:
        yield jsonschema.ValidationError(f"Additional properties are not allowed: {', '.join(map(repr, extras))}")
