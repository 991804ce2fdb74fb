"""The lines of files of questions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from llamacli.errors import InvalidJSONError, UsageError
from llamacli.json_text import parse_json


def read_lines(text: str, name: str, most: int | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the place of each line that is not empty, such as "file, line 3", and its value; at most the first `most`.

    Raises:
        UsageError: if a line is not JSON, or contains half of a character; the message has its place.
    """
    # Not by splitlines: a string of JSON may contain other ends of lines as they are, such as U+2028.
    numbered = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
    for number, line in itertools.islice(numbered, most):
        place = f"{name}, line {number}"
        try:
            value = parse_json(line)
        except InvalidJSONError as error:
            raise UsageError(f"{place}: invalid JSON at column {error.column}: {error.reason}") from None
        if "\\u" in line:
            _refuse_halves(value, place)
        yield place, value


def _refuse_halves(value: Any, place: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{place}: a text contains half of a surrogate pair, which is not a character") from None
