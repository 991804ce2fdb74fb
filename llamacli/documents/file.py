"""The bytes of a file that the user named."""

from __future__ import annotations

import difflib
from pathlib import Path

from llamacli.documents.formats import may_be_document
from llamacli.documents.text import MAX_INPUT_BYTES, SNIFFED, is_binary
from llamacli.errors import CapacityError, UsageError


def read_data(path: Path) -> bytes:
    """Return the bytes of a file. Raises UsageError if it is missing, a directory or unreadable; CapacityError if huge."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if len(data) > MAX_INPUT_BYTES:
        raise CapacityError(f"{path} is larger than {MAX_INPUT_BYTES >> 20} MiB", hint="no context holds as much")
    return data


def looks_binary(path: Path) -> bool:
    """Return whether the beginning of a file is neither text nor a document's. Raises UsageError as `read_data`."""
    try:
        with path.open("rb") as file:
            beginning = file.read(SNIFFED)
    except OSError as error:
        raise _unreadable(path, error) from error
    return is_binary(beginning) and not may_be_document(beginning)


def _unreadable(path: Path, error: OSError) -> UsageError:
    if isinstance(error, IsADirectoryError):
        return UsageError(f"{path} is a directory")
    if isinstance(error, FileNotFoundError):
        names = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        near = [name for name in difflib.get_close_matches(path.name, names) if path.with_name(name).exists()]
        hint = f"did you mean {path.with_name(near[0])}?" if near else None
        hint = "it is a link to a file that does not exist" if path.is_symlink() else hint
        return UsageError(f"{path} does not exist", hint=hint)
    return UsageError(f"cannot read {path}: {error.strerror or error}")
