"""Images and sounds that a command line names: recognized among files by their content, and decoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.files import STDIN
from llamacli.documents.file import read_data
from llamacli.engine.media.media import Media
from llamacli.engine.media.read import MOST_FILE_BYTES, decode_data_url, read_media
from llamacli.errors import MediaError, UsageError
from llamacli.gguf.analysis.projector import SOUND_RATE
from llamacli.media.kind import HEAD_BYTES, MediaKind, kind_of

F = TypeVar("F", str, Path)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a prompt: its name in messages, and its kind. `data` are its bytes if it was standard input."""

    name: str
    kind: MediaKind
    data: bytes | None = None

    def read(self, rate: int = SOUND_RATE) -> Media:
        """Return the picture or sound; a sound has `rate` samples a second.

        Raises:
            UsageError: if the file cannot be read.
            MediaError: if it is damaged, too large, or of another kind.
        """
        data = self.data if self.data is not None else read_data(Path(self.name))
        return read_media(data, self.name, self.kind, rate=rate)


def attached(console: Console, images: Iterable[str], sounds: Iterable[str]) -> tuple[Attachment, ...]:
    """Return the files of `--image` and `--audio`, one of which may be standard input.

    Raises:
        UsageError: if more than one of them is standard input.
    """
    named: list[tuple[str, MediaKind]] = [*((word, "image") for word in images), *((word, "audio") for word in sounds)]
    if sum(word == STDIN for word, _ in named) > 1:
        raise UsageError("standard input can be only one image or sound")
    return tuple(
        Attachment("standard input", kind, _read_stdin(console)) if word == STDIN else Attachment(word, kind)
        for word, kind in named
    )


def read_named(name: str, kind: MediaKind, *, rate: int = SOUND_RATE) -> Media:
    """Return the picture or sound of a file's name, or of a data URL. Raises as `Attachment.read`."""
    if name.startswith("data:"):
        return read_media(decode_data_url(name, "the data URL"), "the data URL", kind, rate=rate)
    return Attachment(name, kind).read(rate)


def split_media(files: Sequence[F]) -> tuple[tuple[F, ...], tuple[Attachment, ...]]:
    """Return the files that are texts and documents, and those that are images and sounds by their content."""
    kinds = [media_kind(Path(file)) for file in files]
    others = tuple(file for file, kind in zip(files, kinds, strict=True) if kind is None)
    return others, tuple(Attachment(str(file), kind) for file, kind in zip(files, kinds, strict=True) if kind is not None)


def media_kind(path: Path) -> MediaKind | None:
    """Return whether a file is an image or a sound by its content; None for others, and for what cannot be read."""
    if str(path) == STDIN:
        return None
    try:
        if not path.is_file():  # pipes are read once
            return None
        with path.open("rb") as file:
            return kind_of(file.read(HEAD_BYTES))
    except (OSError, ValueError):  # reading it as text says what is wrong
        return None


def _read_stdin(console: Console) -> bytes:
    data = console.input_stream().read(MOST_FILE_BYTES + 1)
    console.input_is_used = True
    if not data:
        raise MediaError("standard input is empty", hint="pipe an image or a sound in")
    return data
