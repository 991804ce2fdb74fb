"""The bytes of a file that the user named."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from llamacli.documents.text import MAX_INPUT_BYTES
from llamacli.errors import CapacityError, UsageError

_ADDRESS = re.compile(r"(https?|ftp):/+(.*)", re.IGNORECASE | re.DOTALL)  # Path has made one slash of two


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


def _unreadable(path: Path, error: OSError) -> UsageError:
    if isinstance(error, IsADirectoryError):
        return UsageError(f"{path} is a directory")
    if isinstance(error, FileNotFoundError):
        address = _ADDRESS.match(str(path))
        if address is not None:
            url = f"{address[1]}://{address[2]}"
            return UsageError(f"{url} is a web address, not a file", hint="pipe the text in, for example from curl -fsSL")
        names = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        near = [name for name in difflib.get_close_matches(path.name, names) if path.with_name(name).exists()]
        hint = f"did you mean {path.with_name(near[0])}?" if near else None
        hint = "it is a link to a file that does not exist" if path.is_symlink() else hint
        return UsageError(f"{path} does not exist", hint=hint)
    return UsageError(f"cannot read {path}: {error.strerror or error}")
