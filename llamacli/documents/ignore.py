"""The rules of `.gitignore` files (gitignore(5)): which paths below a folder are ignored, as pathspec reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from llamacli.values import dataclass

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

NAME = ".gitignore"
_EXCLUDE = ".git/info/exclude"

_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Rules:
    """The patterns of one file, and the length of the path of the folder that they are about, with the slash after it."""

    start: int
    spec: GitIgnoreSpec

    def judge(self, path: str) -> bool | None:
        """Return whether an absolute path is ignored; None if no pattern matches. That of a folder ends with a slash."""
        return self.spec.check_file(path[self.start :]).include


def read_rules(folder: str, name: str = NAME) -> Iterator[Rules]:
    """Yield the rules in a file of a folder; none if there is no such file, or it cannot be read."""
    try:
        with Path(folder, name).open("rb") as file:
            text = file.read(_LARGEST).decode("utf-8", "surrogateescape")
    except OSError:
        return
    from pathspec import GitIgnoreSpec  # rarely needed, and a start without it is faster

    lines = [line for line in text.removeprefix("\ufeff").splitlines() if _is_valid(line)]
    yield Rules(len(folder.rstrip(os.sep)) + 1, GitIgnoreSpec.from_lines(lines))


def _is_valid(line: str) -> bool:
    """Return whether a pattern can be read. git leaves out the others."""
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):
        return False
    return True


class Ignored:
    """The rules that hold in a folder: those of its own file, and those of the folders above it, up to the repository's."""

    def __init__(self, rules: tuple[Rules, ...]) -> None:
        self._rules = rules

    @classmethod
    def above(cls, folder: Path) -> Self:
        """Return the rules of the folders above `folder`, if it lies in a git repository, and those of `.git/info/exclude`."""
        folders = [str(one) for one in (folder.absolute(), *folder.absolute().parents)]
        top = next((number for number, one in enumerate(folders) if _exists(f"{one}/.git")), None)
        if top is None:
            return cls(())
        rules = list(read_rules(folders[top], _EXCLUDE))
        for one in reversed(folders[1 : top + 1]):
            rules += read_rules(one)
        return cls(tuple(rules))

    def within(self, folder: Path) -> Ignored:
        """Return the rules that hold in `folder`, an absolute path, which lies in the folder of these rules."""
        rules = tuple(read_rules(str(folder)))
        return Ignored((*self._rules, *rules)) if rules else self

    def covers(self, path: str, *, is_folder: bool) -> bool:
        """Return whether an absolute path is ignored: as the deepest rules with a pattern that matches say."""
        name = f"{path}/" if is_folder else path
        return next((verdict for one in reversed(self._rules) if (verdict := one.judge(name)) is not None), False)


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except OSError:
        return False
    return True
