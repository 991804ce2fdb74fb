"""Opening of models for `info`: local files, or files on a server, of which only the header is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.settings import settings
from llamacli.errors import UsageError
from llamacli.gguf.arrays import read_array, read_bytes, read_numbers, read_strings
from llamacli.gguf.header import Lazy
from llamacli.gguf.layout import ValueType
from llamacli.gguf.model import ModelFiles, read_files
from llamacli.gguf.source import FileSource, Source
from llamacli.store.models.references import expand_alias

DELAY_SECONDS = 0.5
"""Delay in seconds before progress is shown."""

PREVIEW = 5
"""Number of elements of an array in the list of keys."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A model's headers, and the sources of its arrays and data. `path` is its first file, or None for a server."""

    location: str
    files: ModelFiles
    sources: Sequence[Source]
    path: Path | None

    @property
    def is_local(self) -> bool:
        """True if the whole model can be read."""
        return self.path is not None

    def require_local(self, option: str) -> None:
        """Check that the model is local.

        Raises:
            UsageError: if it is on a server.
        """
        if not self.is_local:
            raise UsageError(
                f"{option} reads the whole model, which is on a server", hint="download it with `llamacli models pull`"
            )

    def elements(self, lazy: Lazy) -> Iterator[Any]:
        """Return the elements of an array of the metadata, or a long string in pieces."""
        source, header = self.sources[0], self.files.header
        if lazy.element is None:
            return (piece.decode(errors="surrogateescape") for piece in read_bytes(source, lazy))
        if lazy.element == ValueType.STRING:
            return (text.decode(errors="surrogateescape") for text in read_strings(source, header, lazy))
        return iter(read_numbers(source, header, lazy))

    def preview(self, value: object) -> list[Any]:
        """Return the first elements of an array; an empty list for any other value."""
        if not isinstance(value, Lazy) or value.element is None:
            return []
        return list(read_array(self.sources[0], self.files.header, value, PREVIEW))


@contextmanager
def open_files(app: AppContext, reference: str | None, *, offline: bool) -> Iterator[Opened]:
    """Open the model that `reference` names, and close it at the end.

    Raises:
        UsageError: if no model is named.
        ModelError: if it cannot be found or read.
    """
    target = expand_alias(reference, settings.current().aliases()) if reference is not None else None
    if target is not None and target.startswith(("hf:", "https://", "http://")):
        from llamacli.store.models import remote

        if model := remote.find_remote(target, offline=offline):
            with app.progress(delay=DELAY_SECONDS) as bar:
                bar.update("reading the header", 0, None)
                files, sources = remote.read_remote(model)
            yield Opened(model.addresses[0], files, sources, None)
            return
    path = app.find_model(app, reference, offline=offline)
    files = read_files(path)
    with ExitStack() as stack:
        opened = [stack.enter_context(FileSource(location)) for location in files.locations]
        yield Opened(str(path), files, opened, path)
