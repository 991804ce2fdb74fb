"""The layout of a sequence's state as llama.cpp serializes it: which bytes belong to which token.

The state of a sequence in a cache with full attention is a list of cells, and for each layer a row of keys and a row of values
for each cell. So it can be cut between any two tokens, and put together again. What has another form (a sliding window, a
recurrent state, positions in two dimensions, layers without values) is refused. See `llama_kv_cache::state_write` in
`src/llama-kv-cache.cpp`; a state never leaves the build that made it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

from llamacli.engine.runtime.prompt_identity import Form
from llamacli.errors import StateError
from llamacli.values import dataclass

MOST_STREAMS = 256
"""Most sequences of a context, each of which may have a part of its own in the cache."""

SPARE = 4 * MOST_STREAMS
"""Zeroed bytes behind a state for the empty parts of a cache."""

HEAD_BYTES = 8
"""Bytes before what the memory of a model writes: a number and the sequence."""

_HEAD = struct.Struct("<Iii")  # magic, sequence, number of streams
_COUNT = struct.Struct("<I")
_CELL = struct.Struct("<iii")  # position, number of sequences, sequence
_COUNTS = struct.Struct("<II")  # whether values are transposed, number of layers
_ROWS = struct.Struct("<iQ")  # type, bytes of a row
_COLUMNS = struct.Struct("<iII")  # type, bytes of an element, elements of a row
_MOST_LAYERS = 4096

Buffer = Any
"""Something with the buffer protocol: bytes, or mapped memory."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The rows of each layer. `keys` are (type, bytes of a row); `values` likewise, or (type, bytes of an element, elements).

    `magic` is the number that a state begins with.
    """

    magic: int
    keys: tuple[tuple[int, int], ...]
    values: tuple[tuple[int, ...], ...]

    @property
    def is_transposed(self) -> bool:
        """True if the values of an element lie together, not those of a token."""
        return bool(self.values) and len(self.values[0]) == 3

    @property
    def token_bytes(self) -> int:
        """Bytes of one token in all layers."""
        return sum(row for _, row in self.keys) + sum(one[1] * (one[2] if len(one) == 3 else 1) for one in self.values)

    def size(self, tokens: int) -> int:
        """Return the bytes of a state of so many tokens, in a cache with one stream."""
        heads = _ROWS.size * len(self.keys) + (_COLUMNS if self.is_transposed else _ROWS).size * len(self.values)
        return _HEAD.size + 4 + _COUNTS.size + heads + tokens * (_CELL.size + self.token_bytes)

    def parts(self, tokens: int, start: int, end: int) -> Iterator[slice]:
        """Yield where the tokens [start, end) of a state of `tokens` lie, in a cache with one stream."""
        at = _HEAD.size + 4 + tokens * _CELL.size + _COUNTS.size
        for _, row in self.keys:
            at += _ROWS.size
            yield slice(at + start * row, at + end * row)
            at += tokens * row
        for one in self.values:
            if len(one) == 2:
                at += _ROWS.size
                yield slice(at + start * one[1], at + end * one[1])
                at += tokens * one[1]
                continue
            _, element, count = one
            at += _COLUMNS.size
            for _ in range(count):
                yield slice(at + start * element, at + end * element)
                at += tokens * element

    def to_json(self) -> list[Any]:
        """Return the layout as JSON: equal layers are counted."""
        return [self.magic, _counted(self.keys), _counted(self.values)]

    @staticmethod
    def from_json(data: Any) -> Layout:
        """Return the layout that `to_json` wrote. Raises StateError for anything else."""
        try:
            magic, keys, values = data
            layout = Layout(int(magic), tuple(_repeated(keys)), tuple(_repeated(values)))
        except (TypeError, ValueError) as error:
            raise StateError("the layout of a saved state is damaged") from error
        widths = {len(one) for one in layout.values}
        if not layout.keys or any(len(one) != 2 for one in layout.keys) or widths not in ({2}, {3}):
            raise StateError("the layout of a saved state is damaged")
        return layout


def read_layout(state: Buffer) -> tuple[Layout, int, memoryview]:
    """Return the layout of a state, its tokens, which have the positions from 0 on, and it as in a cache with one stream.

    Raises:
        StateError: if it has another form.
    """
    view = memoryview(state).cast("B")
    try:
        layout, tokens, end = _read(view)
        streams = _HEAD.unpack_from(view, 0)[2]
        if len(view) - end != 4 * (streams - 1 - _empty_streams(view, streams)) or any(view[end:]):
            raise ValueError
    except (struct.error, ValueError, OverflowError) as error:
        raise StateError("a state of this kind cannot be cut") from error
    return layout, tokens, _with_one_stream(view, layout, tokens)


def write_frame(target: memoryview, layout: Layout, tokens: int) -> None:
    """Write everything but the rows of a state of `tokens` tokens into zeroed memory of `layout.size(tokens)` bytes."""
    _HEAD.pack_into(target, 0, layout.magic, 0, 1)
    struct.pack_into("<I", target, _HEAD.size, tokens)
    at = _HEAD.size + 4
    for position in range(tokens):
        _CELL.pack_into(target, at, position, 1, 0)
        at += _CELL.size
    _COUNTS.pack_into(target, at, int(layout.is_transposed), len(layout.keys))
    at += _COUNTS.size
    for kind, row in layout.keys:
        _ROWS.pack_into(target, at, kind, row)
        at += _ROWS.size + tokens * row
    for one in layout.values:
        if len(one) == 2:
            _ROWS.pack_into(target, at, *one)
            at += _ROWS.size + tokens * one[1]
        else:
            _COLUMNS.pack_into(target, at, *one)
            at += _COLUMNS.size + tokens * one[1] * one[2]


def for_streams(state: memoryview, size: int, streams: int, form: Form) -> memoryview:
    """Return a state of `size` bytes for a cache of so many streams. The memory behind it is zeroed, and long enough.

    In a state that has more than rows, they and the window are for one stream. Raises StateError if it has another form.
    """
    if form == "state":
        return state[:size]
    if form != "rows":
        return _joined_for(state[:size], streams, has_window=form == "rows and window")
    _, sequence, _ = _HEAD.unpack_from(state, 0)
    struct.pack_into("<ii", state, 4, sequence, streams)
    return state[: size + 4 * (streams - 1)]


def split_rows(state: Buffer) -> tuple[Layout, int, memoryview, memoryview]:
    """Return what `read_layout` does of the rows of a state, and what follows them: a window or a recurrent state.

    Raises:
        StateError: if it has another form.
    """
    view = memoryview(state).cast("B")
    try:
        layout, tokens, end = _read(view)
        streams = _HEAD.unpack_from(view, 0)[2]
        end += 4 * (streams - 1 - _empty_streams(view, streams))
    except (struct.error, ValueError, OverflowError) as error:
        raise StateError("a state of this kind cannot be cut") from error
    return layout, tokens, _with_one_stream(view, layout, tokens), view[end:]


def window_with_one_stream(window: Buffer) -> bytes:
    """Return what follows the rows, the cells of a window, as if in a cache with one stream. Raises StateError."""
    view = memoryview(window).cast("B")
    try:
        (streams,) = _COUNT.unpack_from(view, 0)
        counts = struct.unpack_from(f"<{streams}I", view, _COUNT.size) if 1 <= streams <= MOST_STREAMS else ()
    except struct.error as error:
        raise StateError("a state of this kind cannot be cut") from error
    before = next((number for number, count in enumerate(counts) if count), None)
    if before is None:
        raise StateError("a state of this kind cannot be cut")
    behind = streams - 1 - before
    return _COUNT.pack(1) + view[_COUNT.size * (1 + before) : len(view) - _COUNT.size * behind]


def _joined_for(state: memoryview, streams: int, *, has_window: bool) -> memoryview:
    """The state with rows, and a window, for so many streams."""
    _, _, rows, rest = split_rows(state)
    empty = bytes(_COUNT.size * (streams - 1))
    magic, sequence, _ = _HEAD.unpack_from(rows, 0)
    parts: list[Buffer] = [_HEAD.pack(magic, sequence, streams), rows[_HEAD.size :], empty]
    parts += [_COUNT.pack(streams), rest[_COUNT.size :], empty] if has_window else [rest]
    return memoryview(bytearray().join(parts))


def _read(view: memoryview) -> tuple[Layout, int, int]:
    """Return the layout, the number of tokens, and where their rows end."""
    magic, _, streams = _HEAD.unpack_from(view, 0)
    if not 1 <= streams <= MOST_STREAMS:
        raise ValueError
    at = _HEAD.size + 4 * _empty_streams(view, streams)
    (tokens,) = struct.unpack_from("<I", view, at)
    cells = view[at + 4 : at + 4 + tokens * _CELL.size]
    if not tokens or any(cell[:2] != (i, 1) for i, cell in enumerate(_CELL.iter_unpack(cells))):
        raise ValueError
    at += 4 + len(cells)
    transposed, layers = _COUNTS.unpack_from(view, at)
    if transposed > 1 or not 1 <= layers <= _MOST_LAYERS:
        raise ValueError
    at += _COUNTS.size
    keys: list[tuple[int, int]] = []
    for _ in range(layers):
        kind, row = _ROWS.unpack_from(view, at)
        keys.append((kind, row))
        at += _ROWS.size + tokens * row
    values: list[tuple[int, ...]] = []
    for _ in range(layers):
        one = (_COLUMNS if transposed else _ROWS).unpack_from(view, at)
        values.append(one)
        at += (_COLUMNS.size if transposed else _ROWS.size) + tokens * one[1] * (one[2] if transposed else 1)
    return Layout(magic, tuple(keys), tuple(values)), tokens, at


def _empty_streams(view: memoryview, streams: int) -> int:
    """The number of streams without a cell before the one with the sequence."""
    counts: Sequence[int] = struct.unpack_from(f"<{streams}I", view, _HEAD.size)
    return next((number for number, count in enumerate(counts) if count), streams - 1)


def _with_one_stream(view: memoryview, layout: Layout, tokens: int) -> memoryview:
    """The state as if its stream were the only one: empty ones before it are left out; the frame is not read any more."""
    _, _, streams = _HEAD.unpack_from(view, 0)
    skipped = 4 * _empty_streams(view, streams)
    return view[skipped : skipped + layout.size(tokens)]


def _counted(rows: Sequence[tuple[int, ...]]) -> list[list[int]]:
    counted: list[list[int]] = []
    for row in rows:
        if counted and counted[-1][1:] == list(row):
            counted[-1][0] += 1
        else:
            counted.append([1, *row])
    return counted


def _repeated(counted: Any) -> Iterator[Any]:
    for count, *row in counted:
        if not 1 <= count <= _MOST_LAYERS or any(not isinstance(one, int) or not 0 <= one < 1 << 31 for one in row):
            raise ValueError
        yield from [tuple(row)] * count
