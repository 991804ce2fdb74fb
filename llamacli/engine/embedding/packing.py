"""Packing of pieces into batches that fill the tiles of attention.

llama.cpp computes attention on the CPU in tiles of `TILE` by `TILE` tokens of the batch, regardless of the texts they belong
to, and skips a tile in which no token attends to another. If texts end where tiles end, only the tiles on the diagonal remain.
Texts packed in input order reach into their neighbours' tiles, which takes about twice the time. So this packing combines texts
that fill one or more tiles to the last token. With thousands of texts of a few dozen lengths, a greedy search nearly always
finds such an exact bin packing (Johnson, "Near-optimal bin packing algorithms", 1973, for the order: the longest first).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from llamacli.engine.embedding.chunking import Piece

TILE = 64
"""Tokens along a side of a tile: `GGML_FA_TILE_Q` and `GGML_FA_TILE_KV` of ggml's CPU backend."""

Run = list[Piece]
"""Adjacent pieces of a batch."""


def pack(pieces: Iterable[Piece], *, budget: int, max_pieces: int) -> list[list[Piece]]:
    """Return batches of at most `budget` tokens and `max_pieces` pieces, the longest first.

    A piece above the budget is alone in its batch. Each batch holds runs that fill tiles exactly, and at its end, where it
    shifts no other run, one that does not. When no exact runs remain, the others are combined in order of length.
    """
    stock = _Stock(pieces)
    batches: list[list[Piece]] = []
    exact: list[Run] = []
    odd: list[Run] = []
    while stock:
        longest = stock.longest()
        if len(longest.tokens) > budget:
            batches.append([longest])
            continue
        run, room = stock.fill(longest, min(budget - len(longest.tokens), -len(longest.tokens) % TILE), max_pieces)
        (odd if room else exact).append(run)
    exact.reverse()
    odd.reverse()
    while exact or odd:
        last = odd.pop() if odd else []
        batch: list[Piece] = []
        for runs in (exact, odd):
            while runs and _fits(batch, runs[-1], last, budget, max_pieces):
                batch += runs.pop()
        batches.append(batch + last)
    return batches


def _fits(batch: Run, run: Run, last: Run, budget: int, max_pieces: int) -> bool:
    together = (*batch, *run, *last)
    return len(together) <= max_pieces and sum(len(piece.tokens) for piece in together) <= budget


class _Stock:
    """The remaining pieces, by length."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces: dict[int, list[Piece]] = {}
        for piece in pieces:
            self._pieces.setdefault(len(piece.tokens), []).append(piece)
        self._lengths = sorted(self._pieces)

    def __bool__(self) -> bool:
        return bool(self._lengths)

    def longest(self) -> Piece:
        """Take the longest piece."""
        return self._take(self._lengths[-1])

    def fill(self, first: Piece, room: int, max_pieces: int) -> tuple[Run, int]:
        """Take pieces that fill `room` tokens after the first, `max_pieces` in all. Return the run and the remaining room."""
        run = [first]
        while room and len(run) < max_pieces:
            fitting = self._fitting(room, max_pieces - len(run))
            if not fitting:
                break
            run += fitting
            room -= sum(len(piece.tokens) for piece in fitting)
        return run, room

    def _fitting(self, room: int, max_pieces: int) -> Run:
        """Take one piece that fills the room, or two, else the longest that fits, if any."""
        if room in self._pieces:
            return [self._take(room)]
        end = bisect_right(self._lengths, room)
        if max_pieces > 1:
            for length in self._lengths[bisect_right(self._lengths, (room - 1) // 2) : end]:
                other = room - length
                if other in self._pieces and (other != length or len(self._pieces[length]) > 1):
                    return [self._take(length), self._take(other)]
        return [self._take(self._lengths[end - 1])] if end else []

    def _take(self, length: int) -> Piece:
        pieces = self._pieces[length]
        piece = pieces.pop()
        if not pieces:
            del self._pieces[length]
            self._lengths.remove(length)
        return piece
