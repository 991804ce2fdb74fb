"""Jupyter notebooks (nbformat 4): their cells, with the text output of code."""

from __future__ import annotations

import re
from typing import Any

from llamacli.documents.document import Part
from llamacli.errors import InvalidJSONError, UsageError
from llamacli.json_text import parse_json

_STYLES = re.compile(r"\x1b\[[0-9;]*m")


def read_notebook(data: bytes, name: str) -> tuple[Part, ...]:
    """Return the cells that are not empty.

    Raises:
        UsageError: if it is damaged, older than nbformat 4, or has no text.
    """
    try:
        notebook = parse_json(data)
    except InvalidJSONError as error:
        raise UsageError(f"{name} is a damaged notebook: {error.message}") from error
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        if isinstance(notebook, dict) and "worksheets" in notebook:
            hint = "jupyter nbconvert --to notebook makes a new one of it"
            raise UsageError(f"{name} is a notebook of an old format", hint=hint)
        raise UsageError(f"{name} is no notebook: it has no cells")
    language = _language(notebook)
    parts = (Part(_text(cell, language), f"cell {number}") for number, cell in enumerate(cells, 1))
    found = tuple(part for part in parts if part.text)
    if not found:
        raise UsageError(f"{name} has no text")
    return found


def _text(cell: Any, language: str) -> str:
    if not isinstance(cell, dict):
        return ""
    source = _joined(cell.get("source")).strip("\n")
    if cell.get("cell_type") != "code":
        return source.strip()
    printed = "".join(_printed(output) for output in cell.get("outputs") or [] if isinstance(output, dict)).strip("\n")
    blocks = [_fenced(source, language)] if source.strip() else []
    if printed.strip():
        blocks.append("Output:\n\n" + _fenced(printed, ""))
    return "\n\n".join(blocks)


def _printed(output: dict[str, Any]) -> str:
    """Return the text of an output: what was printed, a value, or an error."""
    if output.get("output_type") == "error":
        return f"{output.get('ename')}: {output.get('evalue')}\n"
    data = output.get("data")
    text = _joined(data.get("text/plain") if isinstance(data, dict) else output.get("text"))
    return _STYLES.sub("", text).rstrip("\n") + "\n" if text.strip() else ""


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _language(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    info = metadata.get("language_info") if isinstance(metadata, dict) else None
    named = info.get("name") if isinstance(info, dict) else None
    return named if isinstance(named, str) and named.isalnum() else ""


def _joined(lines: Any) -> str:
    """Return a text that may be a list of lines."""
    if isinstance(lines, list):
        return "".join(line for line in lines if isinstance(line, str))
    return lines if isinstance(lines, str) else ""
