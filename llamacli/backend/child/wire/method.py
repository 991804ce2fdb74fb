"""Declarations of what a child does: each method with the types of its arguments, its items and its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llamacli.backend.child.wire.codec import Variants, decode, encode
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a child.

    `arguments` is the type of its one argument, `result` that of its result, `items` that of what it streams meanwhile, and
    `feeds` that of what it is given meanwhile; None where there is none. `window` items may be computed ahead of the caller.
    `is_retried`: the caller tries again after a death of the child, so its error is about the death, not about the cause.
    """

    name: str
    arguments: Any
    result: Any = None
    items: Any = None
    feeds: Any = None
    window: int = 256
    is_retried: bool = False


def encoder_of(kind: Any) -> Callable[[Any], bytes]:
    """Return the function that writes values of a type of `Method`."""
    return kind.encode if isinstance(kind, Variants) else encode


def decoder_of(kind: Any) -> Callable[[Any], Any]:
    """Return the function that reads and checks values of a type of `Method`."""
    if isinstance(kind, Variants):
        return kind.decode
    return lambda data: decode(data, kind)
