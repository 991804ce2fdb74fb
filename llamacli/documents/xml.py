"""XML of documents, by expat: streamed, and without document types, so that no entity can grow or lead to a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.parsers import expat

from llamacli.errors import UsageError

MAX_DEPTH = 500

_NAMESPACE = re.compile(r".* ")

Start = Callable[[str, dict[str, str]], None]
"""Called with the name of an element and its attributes, without their namespaces."""


def parse_xml(
    data: bytes,
    name: str,
    *,
    start: Start,
    end: Callable[[str], None] = lambda _: None,
    text: Callable[[str], None] = lambda _: None,
) -> None:
    """Parse XML, and call the functions for what is in it. `name` names the document in messages.

    Raises:
        UsageError: if it is not well-formed, has a document type, or is nested more than MAX_DEPTH deep.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    depth = 0

    def refuse(*_: object) -> None:
        raise UsageError(f"{name} has a document type in its XML, which could define entities, and is not read")

    def open_element(element: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise UsageError(f"{name} has XML that is nested more than {MAX_DEPTH} deep")
        start(_local(element), {_local(key): value for key, value in attributes.items()})

    def close_element(element: str) -> None:
        nonlocal depth
        depth -= 1
        end(_local(element))

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = open_element
    parser.EndElementHandler = close_element
    parser.CharacterDataHandler = text
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise UsageError(f"{name} is damaged: its XML is not well-formed: {error}") from error


def _local(qualified: str) -> str:
    return _NAMESPACE.sub("", qualified)
