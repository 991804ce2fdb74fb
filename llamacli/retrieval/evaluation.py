"""How well a search finds what it should: recall and mean reciprocal rank over questions with known places."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llamacli.retrieval.search import Found
from llamacli.store.vectors.entries import Entry

_LINES = re.compile(r"(.+):(\d{1,9})(?:-(\d{1,9}))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Target:
    """A place that a search should find: an id, or the end of a file's path, and lines or a place in words if they matter."""

    id: str
    lines: tuple[int, int] | None = None
    place: str | None = None

    def is_in(self, entry: Entry) -> bool:
        """Return whether a passage is at this place, or shares a line with it."""
        if entry.id is None or not (entry.id == self.id or _is_end(self.id, entry.id)):
            return False
        if self.place is not None:
            return entry.place == self.place
        found = entry.lines
        return self.lines is None or found is None or (found[0] <= self.lines[1] and self.lines[0] <= found[1])


def _is_end(end: str, path: str) -> bool:
    """Return whether a path ends with these parts, or is that of a file here."""
    return path.endswith(f"/{end.removeprefix('./')}") or path == os.path.abspath(end)  # noqa: PTH100  # links stay


def parse_target(text: str) -> Target:
    """Parse an id or a path, with `:12`, `:12-30` or `, page 3` after it if only a part of the file answers."""
    name, comma, place = text.rpartition(", ")
    if comma and name and re.fullmatch(r"[a-z]+ \d+", place):
        return Target(name, place=place)
    lines = _LINES.fullmatch(text)
    if lines and not os.path.lexists(text):
        return Target(lines[1], (int(lines[2]), int(lines[3] or lines[2])))
    return Target(text)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the places that answer it."""

    text: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """How well questions were answered by the first passages.

    `recall` is by number of passages: the mean share of a question's places that are among them. `mrr` is the mean of 1 / rank
    of the first passage at one of the places, 0 without one.
    """

    questions: int
    recall: dict[int, float]
    mrr: float


def evaluate(find: Callable[[str, int], Sequence[Found]], questions: Sequence[Question], cuts: Sequence[int]) -> Quality:
    """Ask each question, and judge the first passages: as many as the largest of `cuts`."""
    shares = dict.fromkeys(cuts, 0.0)
    reciprocal = 0.0
    for question in questions:
        entries = [found.entry for found in find(question.text, max(cuts))]
        ranks = [_rank(target, entries) for target in question.targets]
        for cut in cuts:
            shares[cut] += sum(rank is not None and rank <= cut for rank in ranks) / len(ranks)
        reciprocal += max((1 / rank for rank in ranks if rank is not None), default=0.0)
    count = len(questions)
    return Quality(count, {cut: share / count for cut, share in shares.items()}, reciprocal / count)


def _rank(target: Target, entries: Sequence[Entry]) -> int | None:
    """Return the rank of the first passage at a place, from 1."""
    return next((rank for rank, entry in enumerate(entries, 1) if target.is_in(entry)), None)
