"""Models in several files, named `NAME-00001-of-00005.gguf` as llama.cpp's gguf-split names them. llama.cpp loads the first."""

from __future__ import annotations

import re
from pathlib import Path

from llamacli.errors import ModelNotFoundError

_PART = re.compile(r"(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL | re.IGNORECASE)


def part_names(name: str) -> tuple[str, ...]:
    """The names of all the files of the model that `name` is a part of, in order; `(name,)` if it is whole.

    >>> part_names("a-00002-of-00002.gguf")
    ('a-00001-of-00002.gguf', 'a-00002-of-00002.gguf')
    """
    match = _PART.fullmatch(name)
    if not match:
        return (name,)
    count = int(match["count"])
    if not 1 <= int(match["index"]) <= count:
        return (name,)
    return tuple(f"{match['stem']}-{index:05}-of-{count:05}{name[-5:]}" for index in range(1, count + 1))


def is_later_part(name: str) -> bool:
    """Whether this is a part other than the first, which no list of models should show."""
    return part_names(name)[0] != name


def first_part(path: Path) -> Path:
    """The file to hand to llama.cpp for `path`. Raises ModelNotFoundError if a part is missing."""
    names = part_names(path.name)
    if len(names) == 1:
        return path
    missing = [name for name in names if not path.with_name(name).is_file()]
    if missing:
        raise ModelNotFoundError(
            f"{path.name} is one of {len(names)} parts, and {missing[0]} is not in {path.parent}",
            hint="put all the parts into one folder",
        )
    return path.with_name(names[0])
