"""The documents that a command line names: files, folders, patterns, addresses of web pages, and standard input."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from llamacli.backend.child.documents import DocumentReader
from llamacli.backend.child.params import ChildParams
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.files import STDIN
from llamacli.documents.document import Document, Format
from llamacli.documents.file import looks_binary
from llamacli.documents.folder import Skipped, walk
from llamacli.errors import CapacityError, MissingPackageError, NotTextError, UsageError
from llamacli.gguf.text import printable
from llamacli.render.text import escape_line
from llamacli.units import counted
from llamacli.values import dataclass

STDIN_NAME = "standard input"

_ADDRESS = r"(?i)https?://"
_PATTERN = r"[*?\[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What may be read: the files in folders, pages of private networks, and no pages if `offline`. `child` reads documents."""

    recursive: bool = False
    private_addresses: bool = False
    offline: bool = False
    child: ChildParams | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A document, and whether a word names exactly this one; others were found in a folder or by a pattern."""

    document: Document
    is_named: bool = True

    @property
    def titled(self) -> str:
        """Its text; where the user may not know which files there are, after a line with its name."""
        text = self.document.text.removesuffix("\n").removesuffix("\r")
        return text if self.is_named else f"==> {printable(self.document.name)} <==\n{text}"


_KINDS: dict[Format, str] = {"text": "text", "html": "HTML", "notebook": "notebook"}
"""The names of formats whose identifiers in capitals are not their names."""


def describe(document: Document) -> str:
    """Return one line about a document: its format and size."""
    parts = [_KINDS.get(document.format, document.format.upper())]
    if unit := document.parts[0].place.partition(" ")[0]:
        parts.append(counted(len(document.parts), unit))
    return f"{document.name}: {', '.join([*parts, counted(len(document.text), 'character')])}"


def is_address(word: str) -> bool:
    """Return whether a word is the address of a web page."""
    return re.match(_ADDRESS, word) is not None


class DocumentInput:
    """Reads documents. A context manager that ends the reader, and reports what was left out of folders.

    `requested` is False if the user did not ask for standard input with `-`.
    """

    def __init__(self, console: Console, access: Access, *, requested: bool = True) -> None:
        self._console = console
        self._access = access
        self._reader = DocumentReader(access.child)
        self._skipped = Skipped()
        self._requested = requested

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(says=error is None)

    def close(self, *, says: bool = True) -> None:
        """End the reader, and report once what was left out, unless `says` is False."""
        self._reader.close()
        line, self._skipped = self._skipped.describe(), Skipped()
        if line and says:
            self._console.note(line)

    def read_all(self, words: Sequence[str]) -> Iterator[Found]:
        """Yield the documents that words name, in their order.

        Raises:
            UsageError, FetchError, CapacityError: if a document that is named cannot be read. For others it is a warning.
        """
        for word in words:
            if word == STDIN:
                yield Found(self.read_stdin())
            elif is_address(word):
                yield Found(self.read_page(word))
            else:
                yield from self._read_files(word)

    def read_stdin(self) -> Document:
        """Return standard input as a document. Raises as `Console.read_data` and `read_all`."""
        return self._reader.read_bytes(self._console.read_data(requested=self._requested), STDIN_NAME)

    def read_page(self, address: str) -> Document:
        """Return the web page at an address. Raises as `read_all`."""
        if self._access.offline:
            raise UsageError(f"{address} cannot be read with --offline")
        from urllib.parse import SplitResult

        from llamacli.backend.remote.access import proxy_for
        from llamacli.backend.remote.address import Address
        from llamacli.documents.web import fetch

        def proxy(url: SplitResult) -> str | None:
            place = Address(scheme="https", host=url.hostname or "", port=url.port or 443, api="", root="")
            return proxy_for(place, self._console.environ)

        if self._console.shows_progress:
            self._console.show_status(escape_line(f"fetching {address}")[: self._console.width - 1])
        try:
            page = fetch(address, allows_private=self._access.private_addresses, proxies=proxy)
        finally:
            self._console.show_status("")
        return self._reader.read_bytes(page.data, address, page.media_type)

    @staticmethod
    def is_named(word: str) -> bool:
        """Return whether a word names one document, which may not exist, and not a folder or a pattern."""
        try:
            path = Path(word)
            return word == STDIN or is_address(word) or not (path.is_dir() or (re.search(_PATTERN, word) and not path.exists()))
        except (OSError, ValueError):  # the reader says what is wrong
            return True

    def _read_files(self, word: str) -> Iterator[Found]:
        path = Path(word)
        is_named = self.is_named(word)
        if not is_named and path.is_dir():
            if not self._access.recursive:
                raise UsageError(f"{word} is a directory", hint="-r reads the files in it")
            yield from self._read_found(walk(path, self._skipped), f"{word} has no files with text")
        elif not is_named:
            yield from self._read_found(self._matches(word), f"no file with text matches {word}")
        else:
            yield Found(self._reader.read(path))

    def _matches(self, pattern: str) -> Iterator[Path]:
        import glob

        for match in map(Path, sorted(glob.glob(pattern, recursive=True))):  # noqa: PTH207  # Path.glob takes no absolute ones
            if match.is_file():
                yield match
            elif self._access.recursive:
                yield from walk(match, self._skipped)

    def _read_found(self, paths: Iterator[Path], nothing: str) -> Iterator[Found]:
        """Yield the documents in files that were found; count or report those that cannot be read.

        Raises:
            UsageError: if none can be read.
        """
        count = 0
        for path in paths:
            if self._console.writes_to(path):
                continue
            try:
                if looks_binary(path):
                    raise NotTextError(f"{path} is not text")
                document = self._reader.read(path)
            except NotTextError:
                self._skipped.counts["not text"] += 1
            except MissingPackageError:
                self._skipped.counts["unpackaged"] += 1
            except (UsageError, CapacityError) as error:
                self._console.warn(str(error))
            else:
                count += 1
                yield Found(document, is_named=False)
        if not count:
            raise UsageError(nothing, hint=self._skipped.describe() or None)
