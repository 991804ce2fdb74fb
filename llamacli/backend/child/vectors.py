"""Vectors on the wire, and the methods of an embedding model in a child."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llamacli.backend.child.wire.codec import ProtocolError
from llamacli.backend.child.wire.faults import Fault, exception_of, fault_of
from llamacli.backend.child.wire.method import Method
from llamacli.engine.embedding.outcome import Embedded, NotEmbedded, Outcome
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.engine.embedding.prefetch import prefetch
from llamacli.errors import EngineDiedError, LlamacliError, MemoryFullError

if TYPE_CHECKING:
    import numpy.typing as npt

    from llamacli.backend.child.process.child import Child
    from llamacli.engine.embedding.window import Text

logger = logging.getLogger(__name__)

TEXTS_AT_ONCE: Final = 64
"""Texts that travel together; a window of the embedder has at least four times as many."""

GROUPS_AHEAD: Final = 16
"""Groups of vectors that a child may compute before they are taken."""

_KNOWN_AT_ONCE: Final = 4 * TEXTS_AT_ONCE
"""Texts that travel together if all are in memory: as many as the smallest window has."""

_MOST_CHARACTERS: Final = 1 << 20
_FLOAT_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class VectorRequest:
    """Arguments of `EMBED`. With a `query` the texts are ranked."""

    params: EmbeddingParams | None
    query: str | None = None


class Vectors(msgspec.Struct, array_like=True, frozen=True, tag="vectors"):
    """The vectors of one text: float32 in the byte order of the machine, (`rows`, `columns`)."""

    index: int
    data: bytes
    rows: int
    columns: int
    row_tokens: tuple[int, ...]
    truncated: bool


class NoVectors(msgspec.Struct, array_like=True, frozen=True, tag="none"):
    """A text without vectors, and the reason."""

    index: int
    fault: Fault


class Finished(msgspec.Struct, array_like=True, frozen=True, tag="finished"):
    """The number of finished texts."""

    count: int


FedText = str | tuple[int, ...] | Fault

Outcomes = list[Vectors | NoVectors | Finished]

EMBED: Final = Method("embed", VectorRequest, items=Outcomes, feeds=FedText, window=GROUPS_AHEAD, is_retried=True)


def vectors_of(outcome: Outcome) -> Vectors | NoVectors:
    """Return an outcome for the wire."""
    if isinstance(outcome, NotEmbedded):
        return NoVectors(outcome.index, fault_of(outcome.error))
    rows, columns = outcome.rows.shape
    return Vectors(outcome.index, outcome.rows.tobytes(), rows, columns, outcome.row_tokens, outcome.truncated)


def text_of(fed: FedText) -> Text:
    """Return a text, or the error in its place, from the wire."""
    return _error_of(fed) if isinstance(fed, Fault) else fed


def _error_of(fault: Fault) -> LlamacliError:
    error = exception_of(fault)
    return error if isinstance(error, LlamacliError) else LlamacliError(str(error))


class _KnownGroups(Iterator[tuple["Text", ...]]):
    """The groups of texts that are all in memory: the last one is known to be the last."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self._left = deque(_groups(texts, _KNOWN_AT_ONCE))

    @property
    def is_over(self) -> bool:
        """True after the last group."""
        return not self._left

    def __next__(self) -> tuple[Text, ...]:
        if not self._left:
            raise StopIteration
        return self._left.popleft()

    def close(self) -> None:
        """Forget the rest."""
        self._left.clear()


def _groups_of(texts: Iterable[Text]) -> _KnownGroups | Generator[tuple[Text, ...] | None, None, None]:
    """Return the groups of texts, which a thread reads ahead unless all are in memory."""
    return _KnownGroups(texts) if isinstance(texts, list | tuple) else prefetch(_groups(texts), lambda: None)


def embed(child: Child, request: VectorRequest, texts: Iterable[Text]) -> Generator[Outcome, None, None]:
    """Yield the outcomes of texts in order, embedded by a child."""
    with closing(_groups_of(texts)) as groups:
        yield from _embed_groups(child, request, groups)


def embed_again(
    child: Child,
    revive: Callable[[], Child],
    request: VectorRequest,
    texts: Iterable[Text],
    on_done: Callable[[int], None] = lambda count: None,
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of texts as `embed` does. After a death, the texts in flight are tried again, one by one.

    `revive` returns a new child with the same model. A text that kills twice has no vector, but the error. `on_done` receives
    the number of finished texts from time to time.
    """
    in_flight: deque[Text] = deque()
    done = 0
    with closing(_groups_of(texts)) as groups:
        while True:
            try:
                for outcome in _embed_groups(child, request, groups, in_flight, partial(_report, on_done, done)):
                    yield replace(outcome, index=done)
                    done += 1
            except (EngineDiedError, MemoryFullError) as error:
                if child.is_alive or not in_flight:
                    raise
                logger.warning("%s: the texts in progress are tried again, one by one", error.message)
            else:
                return
            child = revive()
            while in_flight:
                try:
                    (outcome,) = _embed_groups(child, request, iter([(in_flight.popleft(),)]))
                except (EngineDiedError, MemoryFullError) as error:
                    outcome, child = NotEmbedded(done, error), revive()
                yield replace(outcome, index=done)
                done += 1
                on_done(done)


def _report(on_done: Callable[[int], None], earlier: int, count: int) -> None:
    on_done(earlier + count)


def _embed_groups(
    child: Child,
    request: VectorRequest,
    groups: Iterator[tuple[Text, ...] | None],
    in_flight: deque[Text] | None = None,
    on_done: Callable[[int], None] = lambda count: None,
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of groups of texts, None among which means that none is there yet.

    `in_flight` holds the texts that the child has taken and not finished.
    """
    in_flight = deque() if in_flight is None else in_flight

    def source(_count: int) -> tuple[list[Any], bool]:
        group = next(groups, ())
        in_flight.extend(group or ())
        is_last = group == () or (isinstance(groups, _KnownGroups) and groups.is_over)
        return [fault_of(text) if isinstance(text, LlamacliError) else text for text in group or ()], is_last

    with closing(child.stream(EMBED, request, source=source)) as items:
        for item in itertools.chain.from_iterable(items):
            if isinstance(item, Finished):
                on_done(item.count)
            else:
                in_flight.popleft()
                yield _outcome(item)


class ReceivedRows:
    """Vectors as they came, for programs that write them on without NumPy (`outcome.Rows`). NumPy takes them for an array."""

    __slots__ = ("_data", "shape")

    def __init__(self, data: bytes, rows: int, columns: int) -> None:
        if min(rows, columns) < 1 or len(data) != rows * columns * _FLOAT_BYTES:
            raise ProtocolError(f"the engine sent {len(data)} bytes for {rows} x {columns} numbers")
        self._data = data
        self.shape = (rows, columns)

    def tobytes(self) -> bytes:
        """Return the numbers, row after row."""
        return self._data

    def tolist(self) -> Any:
        """Return a list of lists."""
        return memoryview(self._data).cast("f", self.shape).tolist()

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Return an array of NumPy: a copy, which may be written."""
        import numpy as np

        return np.frombuffer(bytearray(self._data), np.float32).reshape(self.shape).astype(dtype or np.float32, copy=False)


def _outcome(item: Vectors | NoVectors) -> Outcome:
    if isinstance(item, NoVectors):
        return NotEmbedded(item.index, _error_of(item.fault))
    return Embedded(item.index, ReceivedRows(item.data, item.rows, item.columns), item.row_tokens, item.truncated)


def _groups(texts: Iterable[Text], most: int = TEXTS_AT_ONCE) -> Iterator[tuple[Text, ...]]:
    """The texts in groups, none of which is empty."""
    group: list[Text] = []
    characters = 0
    for text in texts:
        group.append(text)
        characters += 0 if isinstance(text, LlamacliError) else len(text)
        if len(group) >= most or characters >= _MOST_CHARACTERS:
            yield tuple(group)
            group, characters = [], 0
    if group:
        yield tuple(group)
