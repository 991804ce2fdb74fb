"""Output files of vectors that a crash or somebody's editor left in an odd state."""

from __future__ import annotations

import json

import pytest

from llamacli.batch.vector_resume import Kept, whole_texts

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
