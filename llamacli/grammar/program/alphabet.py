"""Sets of characters as sorted, disjoint ranges."""

from __future__ import annotations

from llamacli.grammar.program.code import Terminal
from llamacli.grammar.syntax.nodes import Ranges

TEXT: Ranges = ((0x01, 0xD7FF), (0xE000, 0x10FFFF))
"""The characters of UTF-8 text in a C string: all but NUL and surrogates."""
PLAIN: Ranges = ((0x20, 0x7E),)


def merged(ranges: Ranges) -> Ranges:
    """Return the same set, sorted, without overlaps and reversed ranges."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(pair for pair in ranges if pair[0] <= pair[1]):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)


def complement(ranges: Ranges, top: int = 0x10FFFF) -> Ranges:
    """Return the code points up to `top` outside the merged `ranges`."""
    found = []
    after = 0
    for low, high in ranges:
        if low > after:
            found.append((after, min(low - 1, top)))
        after = high + 1
    if after <= top:
        found.append((after, top))
    return tuple(found)


def common(first: Ranges, second: Ranges) -> Ranges:
    """Return the intersection of two merged sets."""
    found = []
    i = j = 0
    while i < len(first) and j < len(second):
        low = max(first[i][0], second[j][0])
        high = min(first[i][1], second[j][1])
        if low <= high:
            found.append((low, high))
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def allowed(terminal: Terminal) -> Ranges:
    """Return the characters that a terminal matches: none for a token."""
    if terminal.token is not None:
        return ()
    ranges = merged(terminal.ranges)
    return common(complement(ranges) if terminal.negated else ranges, TEXT)


def size(ranges: Ranges) -> int:
    """Return the number of code points in a merged set."""
    return sum(high - low + 1 for low, high in ranges)


def pick(ranges: Ranges, index: int) -> int:
    """Return the code point at `index` of a merged set."""
    for low, high in ranges:
        if index <= high - low:
            return low + index
        index -= high - low + 1
    raise IndexError(index)
