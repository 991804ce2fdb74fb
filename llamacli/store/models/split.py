"""Split models, named `NAME-00001-of-00005.gguf` by llama.cpp's gguf-split. llama.cpp loads them by the first part."""

from __future__ import annotations

from pathlib import Path

from llamacli.errors import ModelNotFoundError
from llamacli.gguf.split import part_names

__all__ = ["first_part", "is_later_part", "part_names"]


def is_later_part(name: str) -> bool:
    """Return whether this is the name of a part other than the first, which lists of models omit."""
    return part_names(name)[0] != name


def first_part(path: Path) -> Path:
    """The first part of the model of `path`, the one llama.cpp loads. Raises ModelNotFoundError if a part is missing."""
    names = part_names(path.name)
    if len(names) == 1:
        return path
    missing = [name for name in names if not path.with_name(name).is_file()]
    if missing:
        raise ModelNotFoundError(
            f"{path.name} is one of {len(names)} parts, and {missing[0]} is not in {path.parent}",
            hint="put all parts into one folder",
        )
    return path.with_name(names[0])
