"""The layout of states: what is cut and joined again is what llama.cpp wrote, and everything else is refused."""

from __future__ import annotations

import itertools
import random
import struct

import pytest

from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.state_layout import (
    HEAD_BYTES,
    SPARE,
    Layout,
    for_streams,
    read_layout,
    split_rows,
    window_with_one_stream,
    write_frame,
)
from llamacli.errors import StateError

FORMS = {"swa": "rows and window", "hybrid": "rows and state"}
TOKENS = [5 + i % 40 for i in range(50)]


def evaluated(context: Context, sequence: int = 0) -> bytes:
    outputs = [0] * (len(TOKENS) - 1) + [1]
    context.decode(TOKENS, list(range(len(TOKENS))), [sequence] * len(TOKENS), outputs)
    return context.save_sequence(sequence)


def joined(state: bytes, cuts: list[int]) -> tuple[memoryview, int]:
    """The state, cut into parts that go through bytes and JSON, and put together again."""
    layout, tokens, view = read_layout(state)
    pieces = [b"".join(view[part] for part in layout.parts(tokens, *ends)) for ends in itertools.pairwise(cuts)]
    layout = Layout.from_json(layout.to_json())
    size = layout.size(tokens)
    target = memoryview(bytearray(size + SPARE))
    write_frame(target, layout, tokens)
    for piece, ends in zip(pieces, itertools.pairwise(cuts), strict=True):
        at = 0
        for part in layout.parts(tokens, *ends):
            target[part] = piece[at : at + part.stop - part.start]
            at += part.stop - part.start
        assert at == len(piece) == layout.token_bytes * (ends[1] - ends[0])
    return target, size


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"flash_attention": "off"},
        {"cache_type_k": "f32", "cache_type_v": "f32"},
    ],
)
def test_a_joined_state_is_the_one_that_was_cut(tiny_model, params):
    with Model(tiny_model) as model, Context(model, ContextParams(n_ctx=64, threads=1, **params)) as context:
        state = evaluated(context)
        target, size = joined(state, [0, 1, 16, 49, 50])
        assert bytes(target[:size]) == state
        assert bytes(target[size:]) == bytes(SPARE)


@pytest.mark.parametrize(("streams", "sequence"), [(1, 0), (3, 0), (3, 2), (256, 255)])
def test_a_state_goes_into_a_cache_with_other_sequences(tiny_model, streams, sequence):
    params = ContextParams(n_ctx=64, n_seq_max=streams, threads=1)
    with Model(tiny_model, ModelParams()) as model:
        with Context(model, params) as source:
            state = evaluated(source, sequence)
        with Context(model, ContextParams(n_ctx=64, threads=1)) as alone:
            expected = evaluated(alone)
            whole = for_streams(*joined(state, [0, 50]), alone.n_streams, "rows")
            alone.forget(0)
            alone.restore_sequence(0, whole)
            assert alone.save_sequence(0) == expected
        with Context(model, params) as target:
            target.restore_sequence(sequence, for_streams(*joined(expected, [0, 20, 50]), target.n_streams, "rows"))
            assert target.save_sequence(sequence) == state


@pytest.mark.parametrize(("streams", "sequence"), [(1, 0), (3, 0), (3, 1), (3, 2)])
@pytest.mark.parametrize("kind", ["swa", "hybrid"])
def test_rows_and_what_follows_them_go_into_a_cache_with_other_sequences(memory_models, kind, streams, sequence):
    params, form = ContextParams(n_ctx=512, n_seq_max=streams, threads=1), FORMS[kind]
    with Model(memory_models[kind]) as model, Context(model, params) as source:
        state = evaluated(source, sequence)
        layout, tokens, rows, rest = split_rows(state)
        assert tokens == len(TOKENS)
        assert bytes(rest) == source.save_sequence(sequence, partial=True)[HEAD_BYTES:]
        single = memoryview(bytearray(layout.size(tokens)))
        write_frame(single, layout, tokens)
        for part in layout.parts(tokens, 0, tokens):
            single[part] = rows[part]
        whole = bytes(single) + (window_with_one_stream(rest) if kind == "swa" else bytes(rest))
        if sequence == 0:  # the cells have its number
            with Context(model, ContextParams(n_ctx=512, threads=1)) as alone:
                assert evaluated(alone) == whole
        source.forget(sequence)
        source.restore_sequence(sequence, for_streams(memoryview(whole), len(whole), streams, form))
        assert source.save_sequence(sequence) == state


@pytest.mark.parametrize("damaged", [b"", b"\1\0", bytes(8), struct.pack("<3I", 2, 0, 0), struct.pack("<2I", 300, 1)])
def test_what_is_no_window_is_refused(damaged):
    with pytest.raises(StateError):
        window_with_one_stream(damaged)


def test_what_is_no_state_is_refused(tiny_model):
    with Model(tiny_model) as model, Context(model, ContextParams(n_ctx=64, threads=1)) as context:
        state = evaluated(context)
        context.shift(0, 10, -1, 5)  # a gap in the positions
        shifted = context.save_sequence(0)
    swapped = bytearray(state)
    struct.pack_into("<i", swapped, 16, 7)  # the first position
    layers = bytearray(state)
    struct.pack_into("<I", layers, 16 + 12 * len(TOKENS) + 4, 2**31)
    for damaged in (b"", state[:10], state[:-1], state + b"\x01", shifted, bytes(swapped), bytes(layers)):
        with pytest.raises(StateError):
            read_layout(damaged)
    draw = random.Random(1)
    for _ in range(300):
        damaged = bytearray(state)
        at = draw.randrange(16 + 12 * len(TOKENS) + 20)
        damaged[at] ^= 1 << draw.randrange(8)
        try:
            layout, tokens, view = read_layout(damaged)
        except StateError:
            continue
        assert len(view) >= layout.size(tokens)


@pytest.mark.parametrize(
    "data",
    [None, [], [1, [], []], [1, [[1, 1, 4]], [[1, 1]]], [1, [[0, 1, 4]], [[1, 1, 4]]], [1, [[10**9, 1, 4]], [[1, 1, 4]]],
     [1, [[1, 1, -4]], [[1, 1, 4]]], [1, [[1, 1, 2.5]], [[1, 1, 4]]], ["x", [[1, 1, 4]], [[1, 1, 4]]]],
)  # fmt: skip
def test_a_damaged_layout_is_refused(data):
    with pytest.raises(StateError):
        Layout.from_json(data)
