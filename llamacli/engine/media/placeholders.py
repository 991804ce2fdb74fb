"""Placeholders: what stands among the tokens of a prompt for the embeddings of a picture or a sound.

A placeholder is a negative number of 32 bits, so that no token is equal to it. It is made of a hash of the content: prompts
that have the same placeholders have the same pictures, and caches, state files and searches for a common beginning need to
know nothing else. Two bits say whether a chunk, a group of embeddings that is evaluated as a whole, starts here, and whether
the position grows: with M-RoPE the embeddings of a picture share positions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

_STARTS = 1 << 30
_ADVANCES = 1 << 29
_HASH = _ADVANCES - 1


def chunk_placeholders(identity: str, count: int, positions: int) -> tuple[int, ...]:
    """Return the placeholders of a chunk of `count` embeddings with this identity, which takes so many positions."""
    import hashlib  # most prompts have text only

    digest = hashlib.shake_256(identity.encode()).digest(4 * count)
    return tuple(
        -1 - ((number & _HASH) | (_STARTS if place == 0 else 0) | (_ADVANCES if place < positions else 0))
        for place, number in enumerate(struct.unpack(f"<{count}I", digest))
    )


def is_placeholder(token: int) -> bool:
    """Return whether this stands for an embedding."""
    return token < 0


def without_placeholders(tokens: Iterable[int]) -> list[int]:
    """Return the tokens of the text alone."""
    return [token for token in tokens if token >= 0]


def position_after(tokens: Sequence[int]) -> int:
    """Return the position that follows these tokens, which start at 0."""
    return len(tokens) - sum(token < 0 and not (-1 - token) & _ADVANCES for token in tokens)


def whole_chunks(tokens: Sequence[int], length: int) -> int:
    """Return the largest number of tokens up to `length` that does not end within a chunk."""
    while 0 < length < len(tokens) and tokens[length] < 0 and not (-1 - tokens[length]) & _STARTS:
        length -= 1
    return length
