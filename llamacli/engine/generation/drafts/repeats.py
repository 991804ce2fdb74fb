"""What followed the last tokens when they occurred before: text that repeats itself or its prompt is drafted from there.

See Saxena, "Prompt Lookup Decoding" (2023), and Oliaro et al., "SuffixDecoding" (arXiv 2411.04975).
"""

from __future__ import annotations

from collections.abc import Sequence

GRAM = 3
"""Tokens that must agree before a place is looked at."""

_MOST_PLACES = 4
"""Places of one gram that are compared; the latest ones."""

_LONGEST_MATCH = 32


class Repeats:
    """An index of a growing text by its grams. Adding a token and looking up the end take a constant time."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], list[int]] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Add tokens at the end."""
        text, places = self._tokens, self._places
        for token in tokens:
            if len(text) >= GRAM:
                found = places.setdefault(tuple(text[-GRAM:]), [])
                found.append(len(text))
                if len(found) > _MOST_PLACES:
                    del found[0]
            text.append(token)

    def guess(self, end: Sequence[int], most: int) -> tuple[int, list[int]]:
        """Return the length of the longest match of `end` with an earlier place, and up to `most` tokens that followed there.

        Return (0, []) without one. Of equally long ones that with most tokens counts, then the latest.
        """
        text = self._tokens
        best = (0, 0, 0)
        for place in self._places.get(tuple(end[-GRAM:]), ()):
            length = GRAM
            while length < min(_LONGEST_MATCH, len(end), place) and text[place - length - 1] == end[-length - 1]:
                length += 1
            best = max(best, (length, min(most, len(text) - place), place))
        length, count, place = best
        return length, text[place : place + count]
