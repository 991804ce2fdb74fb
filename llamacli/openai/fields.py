"""The fields of a request, read one by one with their types: what is not read is refused by name, never ignored."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from llamacli.errors import UsageError

_LARGEST = 1 << 63

_encoder = msgspec.json.Encoder()


class Fields:
    """Reader of the fields of a JSON object. A field that is null counts as not given.

    `within` is the field that holds the object, for messages. `finish` refuses the fields that nobody read.
    """

    def __init__(self, document: Any, *, within: str = "") -> None:
        self._prefix = f"{within}." if within else ""
        if not isinstance(document, Mapping):
            raise UsageError(f"{within or 'the request'} must be a JSON object", parameter=within or None)
        check_characters(document, within or None)
        self._given = {name: value for name, value in document.items() if value is not None}
        self._read: set[str] = set()
        self._known: set[str] = set()  # asked for, if only whether they are given

    def __contains__(self, name: str) -> bool:
        self._known.add(name)
        return name in self._given

    def given(self, names: Collection[str]) -> list[str]:
        """Return those of some fields that are given."""
        found = [name for name in names if name in self._given]
        self._known.update(names)
        return found

    def name(self, name: str) -> str:
        """Return the full name of a field, for messages."""
        return self._prefix + name

    def value(self, name: str) -> Any:
        """Return the value of a field as it is, None if it is not given."""
        self._read.add(name)
        self._known.add(name)
        return self._given.get(name)

    def fault(self, name: str, problem: str) -> UsageError:
        """Return the error of a field."""
        return UsageError(f"{self.name(name)} {problem}", parameter=self.name(name))

    def text(self, name: str) -> str | None:
        """Return a string. Raises UsageError if it is something else."""
        value = self.value(name)
        if value is not None and not isinstance(value, str):
            raise self.fault(name, "must be a string")
        return value

    def required_text(self, name: str) -> str:
        """Return a string that must be given."""
        value = self.text(name)
        if value is None:
            raise self.fault(name, "is missing")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return true or false."""
        value = self.value(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fault(name, "must be true or false")
        return value

    def integer(self, name: str, *, low: int | None = None, high: int | None = None) -> int | None:
        """Return a whole number within bounds, None if it is not given."""
        value = self.value(name)
        if value is None:
            return None
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole:
            raise self.fault(name, "must be a whole number")
        if abs(value) >= _LARGEST:
            raise self.fault(name, "must be a whole number of 64 bits")
        self._check_bounds(name, value, low, high)
        return int(value)

    def number(self, name: str, *, low: float | None = None, high: float | None = None) -> float | None:
        """Return a finite number within bounds, None if it is not given."""
        value = self.value(name)
        if value is None:
            return None
        try:
            finite = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
            number = float(value) if finite else 0.0
        except OverflowError:
            finite = False
        if not finite:
            raise self.fault(name, "must be a finite number")
        self._check_bounds(name, number, low, high)
        return number

    def choice(self, name: str, choices: Sequence[str]) -> str | None:
        """Return one of some words, None if it is not given."""
        value = self.value(name)
        if value is not None and value not in choices:
            raise self.fault(name, f"must be one of {', '.join(choices)}")
        return value  # type: ignore[no-any-return]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings, or the one string; empty if it is not given."""
        value = self.value(name)
        items = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise self.fault(name, "must be a string or a list of strings")
        return tuple(items)

    def inner(self, name: str) -> Fields | None:
        """Return the fields of an object, None if it is not given."""
        value = self.value(name)
        return None if value is None else Fields(value, within=self.name(name))

    def only(self, name: str, *allowed: Any, why: str) -> None:
        """Read a field of which only some values are supported. Raises UsageError for others."""
        value = self.value(name)
        if value is not None and not any(value is one or (type(value) is type(one) and value == one) for one in allowed):
            raise self.fault(name, f"is not supported with this value: {why}")

    def finish(self) -> None:
        """Refuse the fields that were not read. Raises UsageError that names the first."""
        for name in self._given:
            if name not in self._read:
                near = difflib.get_close_matches(name, self._known, n=1)
                hint = f"did you mean {self.name(near[0])}?" if near else None
                raise UsageError(f"{self.name(name)} is not supported", hint=hint, parameter=self.name(name))

    def _check_bounds(self, name: str, value: float, low: float | None, high: float | None) -> None:
        if (low is not None and value < low) or (high is not None and value > high):
            most = f"from {low:g} to {high:g}" if high is not None else f"at least {low:g}"
            raise self.fault(name, f"must be {most}")


def check_characters(document: Any, within: str | None) -> None:
    """Refuse half of a surrogate pair, which JSON can spell and no text contains. Raises UsageError."""
    try:
        _encoder.encode(document)
    except UnicodeEncodeError:
        raise UsageError("a string contains half of a surrogate pair, which is not a character", parameter=within) from None
