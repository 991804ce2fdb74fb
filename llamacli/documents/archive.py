"""ZIP archives, in which most documents come: their members, within limits."""

from __future__ import annotations

import io
import lzma
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from llamacli.documents.damage import DAMAGE
from llamacli.errors import CapacityError, UsageError

MAX_MEMBERS = 20_000
MAX_MEMBER = 64 << 20
"""Limit of a member that is read, in bytes, unpacked."""
MAX_TOTAL = 256 << 20
"""Limit of all members that are read, together."""


@contextmanager
def archive_errors(name: str) -> Iterator[None]:
    """Raise what zipfile raises in the block as UsageError. `name` names the document in the message."""
    try:
        yield
    except (zipfile.BadZipFile, lzma.LZMAError, *DAMAGE) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError):  # zipfile's for a missing password
            raise UsageError(f"{name} is encrypted with a password") from error
        raise UsageError(f"{name} is a damaged ZIP archive, as .docx, .odt and .epub files are: {error}") from error


class Archive:
    """A document's archive. `name` names the document in messages.

    Raises:
        UsageError: if it is damaged.
        CapacityError: if it has too many members.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._name = name
        self._total = 0
        with archive_errors(name):
            self._file = zipfile.ZipFile(io.BytesIO(data))
        self.members = frozenset(self._file.namelist())
        if len(self.members) > MAX_MEMBERS:
            raise CapacityError(f"{name} has more than {MAX_MEMBERS:,} files in it")

    def read(self, member: str) -> bytes:
        """Return the bytes of a member. The unpacked bytes are counted: the sizes that the archive states may be wrong.

        Raises:
            UsageError: if there is no such member, or it is damaged or encrypted.
            CapacityError: if it, or everything read so far, is larger than the limit.
        """
        if member not in self.members:
            raise UsageError(f"{self._name} is damaged: it has no {member}")
        data = bytearray()
        with archive_errors(self._name), self._file.open(member) as file:
            while chunk := file.read(1 << 16):
                data += chunk
                self._total += len(chunk)
                if len(data) > MAX_MEMBER or self._total > MAX_TOTAL:
                    limit = MAX_MEMBER if len(data) > MAX_MEMBER else MAX_TOTAL
                    raise CapacityError(f"{self._name} unpacks to more than {limit >> 20} MiB", hint="is it a zip bomb?")
        return bytes(data)
