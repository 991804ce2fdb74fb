"""A deadline that costs nothing where there is nothing to wait for, which is so for most reads and writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any, TypeVar

T = TypeVar("T")


async def until(deadline: float, work: Awaitable[T]) -> T:
    """Return what `work` returns. Raises TimeoutError if it still waits at a time of the loop's clock."""
    begun: Any = work.__await__()
    try:
        waited_for = next(begun)
    except StopIteration as done:
        result: T = done.value
        return result
    async with asyncio.timeout_at(deadline):
        rest: T = await _Rest(begun, waited_for)
        return rest


class _Rest(Generator[Any, None, Any]):
    """The rest of work that waits for something, as a generator of what it waits for."""

    def __init__(self, begun: Any, waited_for: Any) -> None:
        self._begun = begun
        self._first = [waited_for]

    def __await__(self) -> Generator[Any, None, Any]:
        return self

    def send(self, value: None) -> Any:
        """Go on after a wait."""
        return self._first.pop() if self._first else self._begun.send(value)

    def throw(self, *error: Any) -> Any:
        """Go on with an exception, such as a cancellation."""
        self._first.clear()
        return self._begun.throw(*error)
