"""ZIP archives, in which most documents come: their members, within limits."""

from __future__ import annotations

import io
import zipfile
import zlib

from llamacli.errors import CapacityError, UsageError

MAX_MEMBERS = 20_000
MAX_MEMBER = 64 << 20
"""Limit of a member that is read, in bytes, unpacked."""
MAX_TOTAL = 256 << 20
"""Limit of all members that are read."""

_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, ValueError, EOFError)


class Archive:
    """A document's archive. `name` names the document in messages.

    Raises:
        UsageError: if it is damaged.
        CapacityError: if it has too many members.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._name = name
        self._total = 0
        try:
            self._file = zipfile.ZipFile(io.BytesIO(data))
            self.members = frozenset(self._file.namelist())
        except _BROKEN as error:
            raise self._damaged(error) from error
        if len(self.members) > MAX_MEMBERS:
            raise CapacityError(f"{name} has more than {MAX_MEMBERS:,} files in it")

    def read(self, member: str) -> bytes:
        """Return the bytes of a member. What it unpacks to is counted, whatever the archive says.

        Raises:
            UsageError: if there is no such member, or it is damaged or encrypted.
            CapacityError: if it is too large, or all that was read is.
        """
        data = bytearray()
        try:
            with self._file.open(member) as file:
                while chunk := file.read(1 << 16):
                    data += chunk
                    self._total += len(chunk)
                    if len(data) > MAX_MEMBER or self._total > MAX_TOTAL:
                        limit = MAX_MEMBER if len(data) > MAX_MEMBER else MAX_TOTAL
                        raise CapacityError(f"{self._name} unpacks to more than {limit >> 20} MiB", hint="is it a zip bomb?")
        except KeyError as error:
            raise UsageError(f"{self._name} is damaged: it has no {member}") from error
        except RuntimeError as error:  # zipfile's error for a member with a password
            raise UsageError(f"{self._name} is encrypted with a password") from error
        except _BROKEN as error:
            raise self._damaged(error) from error
        return bytes(data)

    def _damaged(self, error: Exception) -> UsageError:
        return UsageError(f"{self._name} is a damaged ZIP archive, as .docx, .odt and .epub files are: {error}")
