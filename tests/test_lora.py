"""LoRA adapters: generated ones, on the tiny generated model."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tiny
from fakes import invoke

from llamacli.cli import context
from llamacli.engine.model import Model
from llamacli.engine.params import LoraAdapter, ModelParams
from llamacli.errors import ModelError

RANK, WIDTH = 4, 64


def write_adapter(path: Path, *, name: str = "blk.0.attn_q.weight", width: int = WIDTH) -> Path:
    """An adapter that changes the queries of the first layer at random, but the same each time."""
    draw = random.Random(5)
    metadata = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora", "adapter.lora.alpha": 64.0}
    tensors = [
        tiny.Tensor(f"{name}.lora_a", (width, RANK), tiny.floats(draw.gauss(0, 1) for _ in range(width * RANK))),
        tiny.Tensor(f"{name}.lora_b", (RANK, width), tiny.floats(draw.gauss(0, 1) for _ in range(RANK * width))),
    ]
    path.write_bytes(tiny.gguf_bytes(metadata, tensors))
    return path


def answer(model: Path, *loras: str) -> str:
    given = [word for lora in loras for word in ("--lora", lora)]
    arguments = ("run", "-m", str(model), "-t", "1", "-n", "24", "--temp", "0", "--ignore-eos", *given, "Hello")
    result = invoke(*arguments, open_engine=context.open_engine)
    assert result.status == 0, result.stderr
    return result.stdout


def test_an_adapter_changes_the_answer_as_strongly_as_it_is_told_to(tiny_model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter.gguf")
    plain = answer(tiny_model)
    assert answer(tiny_model, f"{adapter}:0") == plain
    assert answer(tiny_model, str(adapter)) == answer(tiny_model, f"{adapter}:1") != plain
    assert answer(tiny_model, f"{adapter}:0.5", f"{adapter}:0.5") == answer(tiny_model, str(adapter))


@pytest.mark.parametrize("damage", ["width", "name", "model", "empty"])
def test_adapters_that_do_not_fit(tiny_model: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "adapter.gguf"
    if damage == "width":
        write_adapter(path, width=32)
    elif damage == "name":
        write_adapter(path, name="blk.9.attn_q.weight")
    elif damage == "model":
        path = tiny_model
    else:
        path.write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        Model(tiny_model, ModelParams(loras=(LoraAdapter(path=str(path)),)))
    assert "\n" not in str(caught.value)
