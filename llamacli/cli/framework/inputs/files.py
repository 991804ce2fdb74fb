"""Text and JSON files that a command line names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llamacli.documents.file import read_data
from llamacli.documents.text import decode
from llamacli.json_text import parse_json

STDIN = "-"


def read_text_file(path: Path) -> str:
    """Read a file's text. Raises UsageError if it is missing, a directory, unreadable or not text; CapacityError if huge."""
    return decode(read_data(path), str(path))


def read_json_file(path: Path) -> Any:
    """Read a JSON file. Raises like `read_text_file`, and UsageError with the position if it is invalid JSON."""
    return parse_json(read_text_file(path), source=str(path))
