"""LoRA adapters: generated ones, on the tiny generated model."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import tiny
from fakes import invoke

from llamacli.cli.framework import context
from llamacli.engine.params import LoraAdapter, ModelParams
from llamacli.engine.runtime.model import Model
from llamacli.errors import ModelError

RANK, WIDTH = 4, 64


def write_adapter(path: Path, *, name: str = "blk.0.attn_q.weight", width: int = WIDTH, prefix: str = "") -> Path:
    """An adapter that changes the queries of the first layer at random, but the same each time."""
    draw = random.Random(5)
    metadata = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora", "adapter.lora.alpha": 64.0}
    if prefix:
        metadata["adapter.lora.prompt_prefix"] = prefix
    tensors = [
        tiny.Tensor(f"{name}.lora_a", (width, RANK), tiny.floats(draw.gauss(0, 1) for _ in range(width * RANK))),
        tiny.Tensor(f"{name}.lora_b", (RANK, width), tiny.floats(draw.gauss(0, 1) for _ in range(RANK * width))),
    ]
    path.write_bytes(tiny.gguf_bytes(metadata, tensors))
    return path


def embeddings(model: Path, *arguments: str) -> tuple[list[float], str]:
    result = invoke("embed", "-m", str(model), *arguments)
    assert result.status == 0, result.stderr
    return json.loads(result.stdout)["embedding"], result.stderr


def test_an_adapter_changes_vectors_and_says_what_belongs_before_a_text(tiny_embedding_model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter.gguf")
    asking = write_adapter(tmp_path / "asking.gguf", prefix="Query: ")
    plain, _ = embeddings(tiny_embedding_model, "Hello to you all")
    changed, said = embeddings(tiny_embedding_model, "--lora", str(adapter), "Hello to you all")
    assert (changed != plain, said) == (True, "")
    with_prefix, said = embeddings(tiny_embedding_model, "--lora", str(asking), "Hello to you all")
    assert "each text gets the prefix 'Query: '" in said
    assert with_prefix == embeddings(tiny_embedding_model, "--lora", str(adapter), "--prefix", "Query: ", "Hello to you all")[0]
    assert embeddings(tiny_embedding_model, "--lora", str(asking), "--prefix", "", "Hello to you all") == (changed, "")


def test_an_index_is_of_one_adapter(tiny_embedding_model: Path, tmp_path: Path) -> None:
    db, adapter = str(tmp_path / "x.db"), write_adapter(tmp_path / "adapter.gguf")
    add = ("embed", "index", "add", db, "-m", str(tiny_embedding_model))
    assert invoke(*add, "--lora", str(adapter), "Hello to you all").status == 0
    for lora in ((), ("--lora", f"{adapter}:0.5")):
        refused = invoke(*add, *lora, "world")
        assert refused.status == 2
        assert "another model" in refused.stderr
    assert "1 text added" in invoke(*add, "--lora", str(adapter), "world").stderr


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
