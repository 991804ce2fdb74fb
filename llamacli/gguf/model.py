"""A model as it lies on disk or on a server: one file, or several that make up one model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from llamacli.errors import ModelError, ModelFileError, ModelNotFoundError
from llamacli.gguf.header import Header, TensorInfo, read_header
from llamacli.gguf.source import FileSource, Source
from llamacli.gguf.split import MAX_PARTS, part_names
from llamacli.gguf.text import printable


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The headers of a model's files, the first of which has the metadata. `places` are paths or addresses."""

    places: tuple[str, ...]
    parts: tuple[Header, ...]

    @property
    def header(self) -> Header:
        """The header with the metadata."""
        return self.parts[0]

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(part.size for part in self.parts)

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """The tensors of all files, in order."""
        if len(self.parts) == 1:
            return self.parts[0].tensors
        return tuple(replace(tensor, part=number) for number, part in enumerate(self.parts) for tensor in part.tensors)


def read_files(path: str | os.PathLike[str]) -> ModelFiles:
    """The headers of the model at `path`, which may be any of its parts.

    Raises ModelNotFoundError if a part is missing, and what `read_header` raises.
    """
    place = os.fspath(path)
    names = part_names(Path(place).name)
    if len(names) == 1:
        return gather((place,), _read_local)
    places = [Path(place).with_name(name) for name in names]
    missing = [other for other in places if not other.exists()]
    if missing and Path(place).exists():
        raise _missing_part(missing[0], len(places))
    return gather(tuple(map(str, places)), _read_local)


def gather(places: tuple[str, ...], read: Callable[[str], Header]) -> ModelFiles:
    """Reads the header of each place, and checks that together they are one model."""
    parts = tuple(read(place) for place in places)
    files = ModelFiles(places, parts)
    _check_parts(files)
    return files


def open_sources(files: ModelFiles, open_source: Callable[[str], Source] = FileSource) -> list[Source]:
    """A source for each file of a model, for reading arrays and data."""
    return [open_source(place) for place in files.places]


def read_file_header(path: str | os.PathLike[str]) -> Header:
    """The header of one file, whether it is a whole model or a part."""
    return _read_local(os.fspath(path))


def _read_local(place: str) -> Header:
    with FileSource(place) as source:
        return read_header(source)


def _check_parts(files: ModelFiles) -> None:
    first = files.parts[0]
    count = first.integer("split.count") or 1
    if count != len(files.parts) and count > 1:
        if len(files.parts) == 1:
            raise ModelFileError(
                f"{first.name} is one of {min(count, MAX_PARTS + 1)} parts of a model, but its name does not tell the others",
                hint=f"give it back its name, which ends in -00001-of-{count:05}.gguf",
            )
        raise ModelFileError(f"{first.name}: split.count is {count}, but the names tell of {len(files.parts)} parts")
    if len(files.parts) == 1:
        return
    for number, part in enumerate(files.parts):
        if part.integer("split.no") != number:
            raise ModelFileError(
                f"{part.name}: split.no is {part.integer('split.no')}, expected {number}: it is of another model"
            )
    expected = first.integer("split.tensors.count")
    tensors = [tensor.name for part in files.parts for tensor in part.tensors]
    if expected is not None and expected != len(tensors):
        raise ModelFileError(f"{first.name}: {len(tensors)} tensors in {len(files.parts)} parts, expected {expected}")
    if len(set(tensors)) != len(tensors):
        twice = next(name for position, name in enumerate(tensors) if name in tensors[:position])
        raise ModelFileError(f"{first.name}: tensor {printable(twice, 70)} is in two parts")


def _missing_part(missing: Path, count: int) -> ModelError:
    name = printable(missing.name, 100)
    return ModelNotFoundError(f"{name} is missing: the model is in {count} parts", hint="put all the parts into one folder")
