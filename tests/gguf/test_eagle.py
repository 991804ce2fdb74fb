"""Checks of EAGLE-3 heads: each kind of damage is found, and sound files are left in peace."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import tiny_eagle
from tiny import ARRAY, F32, I32, Tensor, Typed, floats

from llamacli.gguf.check.finding import Finding
from llamacli.gguf.check.model import check_model
from llamacli.gguf.model import read_files
from llamacli.gguf.source import FileSource


def check(path: Path) -> list[Finding]:
    files = read_files(path)
    with ExitStack() as stack:
        return check_model(files, [stack.enter_context(FileSource(location)) for location in files.locations])


@pytest.mark.parametrize(
    "options", [{}, {"own": ()}, {"known": range(5, 90)}, {"normalizes": True}, {"width": 32, "taken": 96}]
)
def test_sound_heads_have_no_findings(tmp_path: Path, options: dict[str, Any]) -> None:
    assert check(tiny_eagle.eagle_head(tmp_path / "head.gguf", **options)) == []


def resized(name: str, *shape: int) -> list[Tensor]:
    """A tensor of zeros with another shape."""
    size = 1
    for dimension in shape:
        size *= dimension
    return [Tensor(name, shape, floats([0.0] * size))]


DAMAGE: dict[str, tuple[dict[str, Any], str, str]] = {
    "no layers": (
        {"change": {"eagle3.target_layers": 3}},
        "key eagle3.target_layers", "expected an array of 3 numbers of layers"),
    "two layers": (
        {"layers": (0, 1)},
        "key eagle3.target_layers", "expected an array of 3 numbers of layers"),
    "layers as fractions": (
        {"change": {"eagle3.target_layers": Typed(ARRAY, (0.0, 1.0, 1.0), F32)}},
        "key eagle3.target_layers", "expected an array of 3 numbers of layers"),
    "a negative layer": (
        {"change": {"eagle3.target_layers": Typed(ARRAY, (0, 1, -1), I32)}},
        "key eagle3.target_layers", "is 0, 1, -1, expected numbers from 0"),
    "several layers of its own": (
        {"change": {"eagle3.block_count": 2}},
        "key eagle3.block_count", "is 2, expected 1 layer"),
    "another width of the model": (
        {"change": {"eagle3.target_hidden_size": 32}},
        "tensor fc.weight", "has shape [192, 64], expected [96, 64]"),
    "no width of the model": (
        {"change": {"eagle3.target_hidden_size": "wide"}},
        "key eagle3.target_hidden_size", "has type str, expected u32"),
    "a missing tensor": (
        {"replace": [Tensor("blk.0.attn_norm_2.weight", (64,), b"")]},
        "tensor blk.0.attn_norm_2.weight", "missing, but eagle3 requires it"),
    "a missing norm": (
        {"change": {"eagle3.norm_before_fc": True}},
        "tensor enc.output_norm.weight", "missing, but eagle3 requires it"),
    "queries of the state alone": (
        {"replace": resized("blk.0.attn_q.weight", 64, 64)},
        "tensor blk.0.attn_q.weight", "has shape [64, 64], expected [128, 64]"),
    "embeddings of few tokens": (
        {"replace": resized("token_embd.weight", 64, 300)},
        "tensor token_embd.weight", "has shape [64, 300], expected [64, 309]"),
    "outputs of all tokens": (
        {"known": range(9), "replace": resized("output.weight", 64, 309)},
        "tensor output.weight", "has shape [64, 309], expected [64, 9]"),
    "a token outside the vocabulary": (
        {"known": (5, 309)},
        "tensor d2t", "has token 309, outside the vocabulary of 309 tokens"),
    "tokens as fractions": (
        {"known": range(4), "replace": [Tensor("d2t", (4,), floats([0.0] * 4))]},
        "tensor d2t", "is F32 [4], expected a list of I64"),
    "a table of tokens": (
        {"known": range(4), "replace": [Tensor("d2t", (2, 2), bytes(32), 27)]},
        "tensor d2t", "is I64 [2, 2], expected a list of I64"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found(tmp_path: Path, case: str) -> None:
    options, subject, message = DAMAGE[case]
    found = check(tiny_eagle.eagle_head(tmp_path / "head.gguf", **options))
    assert ("error", subject, message) in [(one.severity, one.subject, one.message) for one in found]
