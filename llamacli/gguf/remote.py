"""Source for a GGUF file on a server: reads only the header, in a few range requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from llamacli.errors import ModelFileError
from llamacli.gguf.text import short_name

Fetch = Callable[[int, int], tuple[bytes, int]]
"""Function that fetches the bytes between two offsets (end exclusive) and returns them with the size of the whole file."""

MIB = 1 << 20
STEPS = (1 * MIB, 1 * MIB, 2 * MIB, 4 * MIB, 4 * MIB, 4 * MIB)
"""Size in bytes of each request for a file: 16 MiB in total, enough for the header of a vocabulary of 260,000 tokens."""

PART_STEP = MIB // 8
"""Size in bytes of the first request for a later part of a model, which has no vocabulary."""


@dataclass(slots=True)
class Allowance:
    """The number of bytes that may still be fetched for a model, and the number of requests made."""

    remaining: int = sum(STEPS)
    requests: int = field(default=0, init=False)


class RangeSource:
    """A file that is fetched in pieces as it is read. Fetched pieces are kept."""

    def __init__(self, name: str, fetch: Fetch, allowance: Allowance, *, later_part: bool = False) -> None:
        """Make the first request, which also gives the file's size. Errors of `fetch` pass through."""
        self.name = short_name(name)
        self._fetch = fetch
        self._allowance = allowance
        self._steps = list(reversed((PART_STEP, *STEPS) if later_part else STEPS))
        self._pieces: list[tuple[int, bytes]] = []
        self.size = 0
        self._request(0)

    def read(self, offset: int, length: int, least: int | None = None) -> bytes:
        """Return up to `length` bytes from `offset`.

        Raises:
            ModelFileError: if the allowance is used up, or the server sends nothing.
        """
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
        wanted = min(step, following - offset, self._allowance.remaining)
        if wanted <= 0:
            raise ModelFileError(
                f"{self.name}: the header is longer than {sum(STEPS) // MIB} MiB, the limit for a file on a server",
                hint="download it with `llamacli models pull` first",
            )
        data, self.size = self._fetch(offset, offset + wanted)
        self._allowance.remaining -= len(data)
        self._allowance.requests += 1
        if not data and offset < self.size:
            raise ModelFileError(f"{self.name}: the server sent nothing for byte {offset}", offset=offset)
        self._pieces.append((offset, data))
