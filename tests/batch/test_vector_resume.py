"""Output files of vectors that a crash or somebody's editor left in an odd state."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llamacli.batch.vector_formats import PAIR, Npy, Npz, npy_header
from llamacli.batch.vector_resume import Kept, _agree, whole_texts

ROWS = [
    {"index": 0, "tokens": 3, "embedding": [1.0, 0.0]},
    {"index": 1, "error": {"message": "the text is empty", "type": "UsageError"}},
    {"index": 2, "tokens": 3, "embedding": [0.0, 1.0]},
]


@pytest.mark.parametrize(
    "tail", [b"", b'{"index": 3, "emb', b"[" * 100_000 + b"\n", b"1" * 5000 + b"\n", b"\xff\n", b"5\n", b'{"index": null}\n']
)
def test_texts_are_whole_up_to_the_last_sound_one(tmp_path, tail):
    lines = [json.dumps(row).encode() + b"\n" for row in ROWS]
    path = tmp_path / "x.jsonl.partial"
    path.write_bytes(b"".join(lines) + tail)
    assert whole_texts(path, "jsonl", 2) == Kept(2, 1)
    assert path.read_bytes() == b"".join(lines[:2])


@pytest.mark.parametrize(
    ("indices", "kept"),
    [
        ((0, 1, 2, 2, 3), 3),
        ((0, 1, 3, 4), 1),  # text 2 has no row: what follows is not of this run
        ((0, 1, 2, 1, 3), 2),
        ((1, 2, 3), 0),
        ((0, -1, 1), 0),
        ((0, 1, 10**18, 10**18 + 1), 1),
        ((0, 1, 10**30), 1),
        ((0, 1.5, 2), 0),
        ((-1, 0, 1, 2), 0),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_texts_are_in_order(tmp_path, kind, indices, kept):
    path = tmp_path / "x.partial"
    if kind == "jsonl":
        lines = [json.dumps({"index": index, "embedding": [1.0, 0.0]}) for index in indices]
    else:
        lines = ["index,id,part,tokens,error,v0,v1", *(f"{index},,0,3,,1,0" for index in indices)]
    path.write_text("".join(f"{line}\n" for line in lines))
    assert whole_texts(path, kind, 2).texts == kept


@pytest.mark.parametrize(
    ("indices", "kept"),
    [
        ((0, 1, 3, 3, 4), Kept(4, 1)),
        ((0, 2, 1, 4), Kept(2, 1)),
        ((0, 1, -(2**63), 2), Kept(1, 0)),
        ((-5, 1, 2), Kept(0, 0)),
        ((), Kept(0, 0)),
    ],
)
def test_an_archive_names_its_texts_in_order(tmp_path, indices, kept):
    path = tmp_path / "x.npz.partial"
    rows, numbers = Npz.parts(path)
    rows.write_bytes(npy_header(0, 2) + np.ones((len(indices), 2), "<f4").tobytes())
    numbers.write_bytes(np.array([(index, 0) for index in indices], "<i8").tobytes())
    assert whole_texts(path, "npz", 2) == kept
    assert numbers.stat().st_size % PAIR == 0
    assert numbers.stat().st_size // PAIR == (rows.stat().st_size - Npy.HEADER) // 8


@pytest.mark.parametrize(
    ("value", "agrees"), [(1.0, True), (1.001, True), (1.1, False), (3e38, False), (np.inf, False), (np.nan, False)]
)
def test_vectors_agree_up_to_rounding_whatever_the_file_holds(value, agrees):
    ours = np.ones((1, 4), np.float32)
    assert _agree(ours, np.full((1, 4), value, np.float32)) is agrees
