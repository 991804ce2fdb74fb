"""The states of evaluated prompts: taken apart into blocks and states for the disk, and put together again for an engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

from llamacli.backend.nameless_file import nameless_file
from llamacli.engine.runtime.mapping import map_shared
from llamacli.engine.runtime.prompt_identity import CapturedPrompt, Form
from llamacli.engine.runtime.state_layout import (
    HEAD_BYTES,
    SPARE,
    Layout,
    read_layout,
    split_rows,
    window_with_one_stream,
    write_frame,
)  # fmt: skip
from llamacli.errors import StateError
from llamacli.store.prompt_cache.block_file import Block, Buffer

_MOST_PARTS = 1024
"""Parts of a block that are written one by one: more of them are so small that a copy is cheaper."""


class CapturedStates:
    """What an engine wrote of an evaluated prompt. `memory` has the bytes.

    Raises (when built):
        StateError: if they cannot be taken apart.
    """

    def __init__(self, form: Form, captured: CapturedPrompt, memory: memoryview) -> None:
        self._tokens = captured.tokens
        self._form = form
        self._layout: Layout | None = None
        self._cells, self._rows = 0, memory
        whole = memory[: captured.size]
        rest = whole[HEAD_BYTES:]
        if form == "rows":
            self._layout, self._cells, self._rows = read_layout(whole)
        elif form != "state":
            self._layout, self._cells, self._rows, rest = split_rows(whole)
        self._head = bytes(whole[:HEAD_BYTES])
        self._rests: dict[int, memoryview] = {}
        end = captured.size
        for length, size in captured.checkpoints:
            self._rests[length] = memory[end + HEAD_BYTES : end + size]
            end += size
        if captured.has_end:
            self._rests[len(captured.tokens)] = rest

    @property
    def lengths(self) -> list[int]:
        """The numbers of tokens after which there is a state that cannot be cut."""
        return sorted(self._rests)

    @property
    def cells(self) -> int:
        """The number of tokens whose rows are there."""
        return self._cells

    def block(self, start: int, end: int) -> Block:
        """Return the rows of the tokens from `start` up to `end`."""
        form, parts = self._slice(start, end)
        return Block(self._tokens[start:end], form, parts)

    def state(self, start: int, end: int) -> Block:
        """Return the state after `end` tokens that cannot be cut, behind the rows of the tokens from `start` on."""
        form, parts = self._slice(start, end)
        rest: Buffer = self._rests[end]
        if self._form == "rows and window":
            rest = window_with_one_stream(rest)
        return Block(self._tokens[start:end], [form or self._head.hex(), len(rest)], (*parts, rest))

    def _slice(self, start: int, end: int) -> tuple[Any, tuple[Buffer, ...]]:
        if self._layout is None:
            return None, ()
        parts = tuple(self._rows[part] for part in self._layout.parts(self._cells, start, end))
        return self._layout.to_json(), parts if len(parts) <= _MOST_PARTS else (b"".join(parts),)


@contextlib.contextmanager
def joined(blocks: Sequence[Block], form: Form) -> Iterator[tuple[IO[bytes], int]]:
    """Yield a nameless file with the state of some blocks, and the bytes of the state; zeros follow it.

    Raises:
        StateError: if they do not fit together.
    """
    last = blocks[-1]
    shape, rest = (last.layout, 0) if form == "rows" else _shape_of(last)
    layout = None if form == "state" else Layout.from_json(shape)
    tokens = sum(len(block.tokens) for block in blocks)
    size = rest + (layout.size(tokens) if layout is not None else HEAD_BYTES)
    with nameless_file() as file:
        file.truncate(size + SPARE)
        state = map_shared(file, size + SPARE)
        if layout is None:
            _fill(state[:HEAD_BYTES], _head_of(shape, last.size - rest))
        else:
            write_frame(state, layout, tokens)
            _write_rows(state, layout, blocks, rest)
        _fill(state[size - rest : size], memoryview(last.payload[0])[last.size - rest :])
        yield file, size


def _shape_of(block: Block) -> tuple[Any, int]:
    """The layout of the rows of a state, or its beginning if it has no rows, and the bytes behind them."""
    match block.layout:
        case [list() | str() as shape, int() as rest] if 0 <= rest <= block.size:
            return shape, rest
    raise _misfit()


def _head_of(shape: Any, rows: int) -> bytes:
    """The beginning of a state that has no rows, of which there must be no bytes."""
    try:
        if not rows:
            return bytes.fromhex(shape)
    except (TypeError, ValueError) as error:
        raise _misfit() from error
    raise _misfit()


def _write_rows(state: memoryview, layout: Layout, blocks: Sequence[Block], rest: int) -> None:
    """Write the rows of blocks, the last of which has `rest` bytes more."""
    shape, start = layout.to_json(), 0
    tokens = sum(len(block.tokens) for block in blocks)
    for block in blocks:
        is_last = block is blocks[-1]
        own = block.layout[0] if is_last and rest else block.layout
        end = start + len(block.tokens)
        if own != shape or block.size - (rest if is_last else 0) != layout.token_bytes * len(block.tokens):
            raise _misfit()
        payload, at = memoryview(block.payload[0]), 0  # it was read in one part
        for part in layout.parts(tokens, start, end):
            count = part.stop - part.start
            state[part] = payload[at : at + count]
            at += count
        start = end


def _fill(target: memoryview, data: Buffer) -> None:
    if len(target) != len(data):
        raise _misfit()
    target[:] = data


def _misfit() -> StateError:
    return StateError("the blocks of a kept prompt do not fit together")
