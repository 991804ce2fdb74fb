"""A model as one file or several, on disk or on a server."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from llamacli.errors import ModelError, ModelFileError, ModelNotFoundError
from llamacli.gguf.header import Header, TensorInfo
from llamacli.gguf.parser.header import read_header
from llamacli.gguf.source import FileSource
from llamacli.gguf.split import MAX_PARTS, part_names
from llamacli.gguf.text import printable


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The headers of a model's files; the first has the metadata. `locations` are paths or URLs."""

    locations: tuple[str, ...]
    parts: tuple[Header, ...]

    @property
    def header(self) -> Header:
        """The header that has the metadata."""
        return self.parts[0]

    @property
    def size(self) -> int:
        """The total size of all files in bytes."""
        return sum(part.size for part in self.parts)

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """The tensors of all files, in order."""
        if len(self.parts) == 1:
            return self.parts[0].tensors
        return tuple(replace(tensor, part=number) for number, part in enumerate(self.parts) for tensor in part.tensors)


def read_files(path: str | os.PathLike[str]) -> ModelFiles:
    """Return the headers of the model at `path`, which may be any of its parts.

    Raises:
        ModelNotFoundError: if a part is missing.
        ModelFileError: if a header is corrupt, or the parts do not belong together.
        ModelUnsupportedError: if llama.cpp cannot read the version or a tensor type.
    """
    location = os.fspath(path)
    names = part_names(Path(location).name)
    if len(names) == 1:
        return gather((location,), _read_local)
    paths = [Path(location).with_name(name) for name in names]
    missing = [other for other in paths if not other.exists()]
    if missing and Path(location).exists():
        raise _missing_part(missing[0], len(paths))
    return gather(tuple(map(str, paths)), _read_local)


def gather(locations: tuple[str, ...], read: Callable[[str], Header]) -> ModelFiles:
    """Read the header at each location, and check that together they are one model.

    Raises:
        ModelFileError: if the parts do not belong together.
    """
    parts = tuple(read(location) for location in locations)
    files = ModelFiles(locations, parts)
    _check_parts(files)
    return files


def read_file_header(path: str | os.PathLike[str]) -> Header:
    """Return the header of one file, whether it is a whole model or a part."""
    return _read_local(os.fspath(path))


def _read_local(path: str) -> Header:
    with FileSource(path) as source:
        return read_header(source)


def _check_parts(files: ModelFiles) -> None:
    first = files.parts[0]
    count = first.integer("split.count") or 1
    if count != len(files.parts) and count > 1:
        if len(files.parts) == 1:
            raise ModelFileError(
                f"{first.name} is one of {min(count, MAX_PARTS + 1)} parts of a model, but its name is not that of a part",
                hint=f"rename it so that its name ends in -00001-of-{count:05}.gguf",
            )
        raise ModelFileError(f"{first.name}: split.count is {count}, but the names are those of {len(files.parts)} parts")
    if len(files.parts) == 1:
        return
    for number, part in enumerate(files.parts):
        if part.integer("split.no") != number:
            raise ModelFileError(
                f"{part.name}: split.no is {part.integer('split.no')}, expected {number}: the part belongs to another model"
            )
    expected = first.integer("split.tensors.count")
    tensors = [tensor.name for part in files.parts for tensor in part.tensors]
    if expected is not None and expected != len(tensors):
        raise ModelFileError(f"{first.name}: {len(tensors)} tensors in {len(files.parts)} parts, expected {expected}")
    if len(set(tensors)) != len(tensors):
        twice = next(name for index, name in enumerate(tensors) if name in tensors[:index])
        raise ModelFileError(f"{first.name}: tensor {printable(twice, 70)} is in two parts")


def _missing_part(missing: Path, count: int) -> ModelError:
    name = printable(missing.name, 100)
    return ModelNotFoundError(f"{name} is missing: the model has {count} parts", hint="put all parts into one directory")
