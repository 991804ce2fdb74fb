"""Files that a command writes whole."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from llamacli.errors import UsageError


def write_file(path: Path, text: str) -> None:
    """Replace a file, or the target of a link, atomically and with its permissions. Write directly to devices.

    Raises:
        UsageError: if it cannot be written.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        _write_device(path, text)
        return
    part = target.with_name(f".{target.name}.partial")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        if target.exists():
            part.chmod(target.stat().st_mode)
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def _write_device(path: Path, text: str) -> None:
    """Write to a device or a pipe.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
