"""Which pieces are evaluated together: those that fill the tiles of attention.

llama.cpp computes attention on the CPU in tiles of `TILE` by `TILE` tokens of the batch, whichever texts they belong to, and
passes over a tile in which no token may look at another. Where texts end at the ends of tiles, only tiles on the diagonal are
left; texts packed as they come reach into their neighbours' tiles, which takes about twice the time. So texts are put together
that fill a tile, or several, to the last token: an exact bin packing, which with thousands of texts of a few dozen lengths a
greedy search nearly always finds (Johnson, "Near-optimal bin packing algorithms", 1973, for the order: the longest first).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from llamacli.engine.embedding.chunking import Piece

TILE = 64
"""Tokens along a side of a tile: `GGML_FA_TILE_Q` and `GGML_FA_TILE_KV` of ggml's CPU backend."""

Run = list[Piece]
"""Pieces that lie next to each other in a batch."""


def pack(pieces: Iterable[Piece], *, budget: int, most: int) -> list[list[Piece]]:
    """Batches of at most `budget` tokens and `most` pieces, the longest first; a piece above the budget is alone.

    Each batch holds runs that fill tiles exactly, and at its end, where that harms nobody, one that does not. When the exact
    ones are used up, what is left goes together as it comes.
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
        run, room = stock.filled(longest, min(budget - len(longest.tokens), -len(longest.tokens) % TILE), most)
        (odd if room else exact).append(run)
    exact.reverse()
    odd.reverse()
    while exact or odd:
        last = odd.pop() if odd else []
        batch: list[Piece] = []
        for runs in (exact, odd):
            while runs and _fits(batch, runs[-1], last, budget, most):
                batch += runs.pop()
        batches.append(batch + last)
    return batches


def _fits(batch: Run, run: Run, last: Run, budget: int, most: int) -> bool:
    together = (*batch, *run, *last)
    return len(together) <= most and sum(len(piece.tokens) for piece in together) <= budget


class _Stock:
    """The pieces that are left, by length."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces: dict[int, list[Piece]] = {}
        for piece in pieces:
            self._pieces.setdefault(len(piece.tokens), []).append(piece)
        self._lengths = sorted(self._pieces)

    def __bool__(self) -> bool:
        return bool(self._lengths)

    def longest(self) -> Piece:
        """Takes the longest piece."""
        return self._take(self._lengths[-1])

    def filled(self, first: Piece, room: int, most: int) -> tuple[Run, int]:
        """Takes what fills the `room` tokens behind a piece, at most `most` pieces with it, and says how many are left."""
        run = [first]
        while room and len(run) < most:
            fitting = self._fitting(room, most - len(run))
            if not fitting:
                break
            run += fitting
            room -= sum(len(piece.tokens) for piece in fitting)
        return run, room

    def _fitting(self, room: int, most: int) -> Run:
        """Takes one piece that fills the room, or two, else the longest that fits, if any does."""
        if room in self._pieces:
            return [self._take(room)]
        end = bisect_right(self._lengths, room)
        if most > 1:
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
