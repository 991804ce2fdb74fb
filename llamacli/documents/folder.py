"""The files in a folder that may hold text: neither hidden nor ignored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llamacli.units import counted
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.documents.ignore import Ignored

Reason = Literal["hidden", "ignored", "not text", "unpackaged"]


@dataclass(slots=True)
class Skipped:
    """What was left out of folders, by the reason. A folder counts once, whatever it holds."""

    counts: Counter[Reason] = field(default_factory=Counter)

    def describe(self) -> str:
        """Return one line about it, empty if nothing was left out."""
        parts = []
        if count := self.counts["not text"]:
            parts.append(f"{counted(count, 'file')} that {_are(count)} not text")
        if count := self.counts["unpackaged"]:
            parts.append(f"{counted(count, 'document')} that need{'s' if count == 1 else ''} pip install 'llamacli[documents]'")
        if count := self.counts["ignored"]:
            parts.append(f"{count:,} ignored by .gitignore")
        if count := self.counts["hidden"]:
            parts.append(f"{count:,} hidden")
        return f"skipped {', '.join(parts)}" if parts else ""


def walk(top: Path, skipped: Skipped) -> Iterator[Path]:
    """Yield the regular files in a folder and the folders in it, by name, and count in `skipped` what is left out.

    Left out are names that begin with a dot, and what `.gitignore` files ignore. Links to folders are not followed. A folder
    that cannot be read is like an empty one.
    """
    from llamacli.documents.ignore import Ignored

    here = Path(os.path.normpath(top.absolute()))
    stack = [_Folder(top, here, Ignored.above(here))]
    while stack:
        found = stack[-1].next(skipped)
        if found is None:
            stack.pop()
        elif isinstance(found, _Folder):
            stack.append(found)
        else:
            yield found


class _Folder:
    """A folder that is being walked. `path` is the one to show, `absolute` the one that rules are about."""

    def __init__(self, path: Path, absolute: Path, above: Ignored) -> None:
        self._path, self._absolute = path, absolute
        self._ignored = above.within(absolute)
        try:
            self._entries = iter(sorted(os.scandir(path), key=lambda entry: entry.name))
        except OSError:
            self._entries = iter(())

    def next(self, skipped: Skipped) -> Path | _Folder | None:
        """Return the next file or folder, None if there are no more."""
        for entry in self._entries:
            where = self._absolute / entry.name
            if entry.name.startswith("."):
                skipped.counts["hidden"] += 1
            elif self._ignored.covers(str(where), is_folder=entry.is_dir(follow_symlinks=False)):
                skipped.counts["ignored"] += 1
            elif entry.is_dir(follow_symlinks=False):
                return _Folder(self._path / entry.name, where, self._ignored)
            elif entry.is_file():
                return self._path / entry.name
        return None


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
