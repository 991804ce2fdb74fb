"""A GGUF file on a server, of which only the header is read, in a handful of range requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from llamacli.errors import ModelFileError
from llamacli.gguf.text import short_name

Fetch = Callable[[int, int], tuple[bytes, int]]
"""Fetches the bytes from one offset to another (the second not included); returns them and the size of the whole file."""

MIB = 1 << 20
STEPS = (1 * MIB, 1 * MIB, 2 * MIB, 4 * MIB, 4 * MIB, 4 * MIB)
"""Bytes of each request for a file: together 16 MiB, which holds the header of a vocabulary of 260,000 tokens."""

PART_STEP = MIB // 8
"""Bytes of the first request for a later part of a model, which has no vocabulary."""


@dataclass(slots=True)
class Allowance:
    """How many bytes may still be fetched for a model, and how many requests were made."""

    left: int = sum(STEPS)
    requests: int = field(default=0, init=False)


class RangeSource:
    """A file that is fetched piece by piece as it is read. What was fetched is kept."""

    def __init__(self, name: str, fetch: Fetch, allowance: Allowance, *, later_part: bool = False) -> None:
        """Makes the first request, which tells the file's size. Raises what `fetch` raises."""
        self.name = short_name(name)
        self._fetch = fetch
        self._allowance = allowance
        self._steps = list(reversed((PART_STEP, *STEPS) if later_part else STEPS))
        self._pieces: list[tuple[int, bytes]] = []
        self.size = 0
        self._request(0)

    def read(self, offset: int, length: int, least: int | None = None) -> bytes:
        """Up to `length` bytes from `offset`. Raises ModelFileError when the allowance is used up."""
        end = min(offset + length, self.size)
        enough = min(length if least is None else max(least, 1), self.size - offset)
        found = b""
        while offset < end:
            piece = self._piece_at(offset)
            if piece is None:
                if len(found) >= enough:
                    break
                self._request(offset)
                continue
            start, data = piece
            found += data[offset - start : end - start]
            offset = min(start + len(data), end)
        return found

    def _piece_at(self, offset: int) -> tuple[int, bytes] | None:
        return next((piece for piece in self._pieces if piece[0] <= offset < piece[0] + len(piece[1])), None)

    def _request(self, offset: int) -> None:
        step = self._steps.pop() if self._steps else STEPS[-1]
        following = min((start for start, _ in self._pieces if start > offset), default=offset + step)
        wanted = min(step, following - offset, self._allowance.left)
        if wanted <= 0:
            raise ModelFileError(
                f"{self.name}: its header is longer than the {sum(STEPS) // MIB} MB that are read from a server",
                hint="fetch it with `llamacli models pull`, then look at it again",
            )
        data, self.size = self._fetch(offset, offset + wanted)
        self._allowance.left -= len(data)
        self._allowance.requests += 1
        if not data and offset < self.size:
            raise ModelFileError(f"{self.name}: the server sent nothing for byte {offset}", offset=offset)
        self._pieces.append((offset, data))
