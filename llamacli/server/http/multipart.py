"""Forms with files: `multipart/form-data` (RFC 7578), as clients upload files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llamacli.errors import UsageError

_PARAMETER = re.compile(r';\s*([\w-]+\*?)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))')

MOST_PARTS = 100


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; `file_name` is None if it is not a file."""

    name: str
    file_name: str | None
    data: bytes


def parse_form(content_type: str, body: bytes) -> list[Part]:
    """Return the fields of a form.

    Raises:
        UsageError: if the body is not such a form.
    """
    kind, parameters = content_type.partition(";")[0], _parameters(content_type)
    boundary = parameters.get("boundary", "")
    if kind.strip().lower() != "multipart/form-data" or not 0 < len(boundary) <= 200:
        raise UsageError("the body must be multipart/form-data")
    mark = b"--" + boundary.encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 2 or len(pieces) > MOST_PARTS or not pieces[-1].startswith(b"--"):
        raise UsageError("the form is not complete")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    head, separator, data = piece.partition(b"\r\n\r\n")
    if not separator:
        raise UsageError("a part of the form has no head")
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            found = _parameters(value)
            if "name" in found:
                return Part(found["name"], found.get("filename"), data)
    raise UsageError("a part of the form has no name")


def _parameters(value: str) -> dict[str, str]:
    return {
        match[1].lower(): re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
        for match in _PARAMETER.finditer(value)
    }
