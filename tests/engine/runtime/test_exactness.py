"""Exactness: what it promises about the bits of a token, and for which models and contexts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tiny
import tiny_memories
from tiny_experts import mixture

from llamacli.binding.library import library
from llamacli.engine.params import ContextParams, LoraAdapter, ModelParams
from llamacli.engine.quantization.quantize import write as quantize
from llamacli.engine.quantization.types import Quantization
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.exactness import is_exact
from llamacli.engine.runtime.model import Model

pytestmark = pytest.mark.skipif(
    not library().llamacli_kernels_instructions(), reason="this processor has none of the instructions of the kernels"
)

TOKENS = [5 + 7 * i % 200 for i in range(40)]


def adapter(path: Path, rank: int) -> LoraAdapter:
    """An adapter of the queries of the first layer."""
    draw = random.Random(5)
    numbers = tiny.floats(draw.gauss(0, 1) for _ in range(64 * rank))
    metadata = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora", "adapter.lora.alpha": 64.0}
    name = "blk.0.attn_q.weight"
    tensors = [tiny.Tensor(f"{name}.lora_a", (64, rank), numbers), tiny.Tensor(f"{name}.lora_b", (rank, 64), numbers)]
    path.write_bytes(tiny.gguf_bytes(metadata, tensors))
    return LoraAdapter(path=str(path))


def bits(model: Model, params: ContextParams, sizes: list[int]) -> list[bytes]:
    """The logits of TOKENS in batches of these sizes."""
    found, start = [], 0
    with Context(model, params) as context:
        for size in sizes:
            end = start + size
            context.decode(TOKENS[start:end], list(range(start, end)), [0] * size, [1] * size)
            found += [bytes(context.logits(i)) for i in range(size)]
            start = end
    return found


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_1"])
@pytest.mark.parametrize("rank", [0, 32])
def test_a_token_of_an_exact_model_has_the_same_bits_in_every_batch(tmp_path: Path, kind: str, rank: int) -> None:
    path = tiny.tiny_model(tmp_path / "f32.gguf")
    if kind != "F32":
        quantize(Quantization(source=str(path), type_name=kind), tmp_path / "model.gguf")
        path = tmp_path / "model.gguf"
    loras = (adapter(tmp_path / "lora.gguf", rank),) if rank else ()
    params = ContextParams(n_ctx=64, threads=2, n_outputs=40)
    with Model(path, ModelParams(loras=loras)) as model:
        assert is_exact(model, params)
        whole = bits(model, params, [40])
        assert bits(model, params, [1] * 40) == bits(model, params, [2, 5, 32, 1]) == whole


@pytest.mark.parametrize("kind", tiny_memories.KINDS)
def test_windows_and_some_recurrent_layers_are_exact(memory_models: dict[str, Path], kind: str) -> None:
    params = ContextParams(n_ctx=512, threads=2, n_outputs=1)
    tokens = [(i * 37 + i * i) % 300 for i in range(200)]
    with Model(memory_models[kind], ModelParams()) as model:
        assert is_exact(model, params)
        found = set()
        for sizes in ([200], [1] * 200, [3, 64, 1, 130, 2]):
            start = 0
            with Context(model, params) as context:
                for size in sizes:
                    end = start + size
                    context.decode(tokens[start:end], list(range(start, end)), [0] * size, [0] * (size - 1) + [1])
                    start = end
                found.add((bytes(context.logits(size - 1)), context.save_sequence(0, partial=True)))
        assert len(found) == 1
    with Model(memory_models[kind], ModelParams(kernels="upstream")) as model:
        assert not is_exact(model, params)


@pytest.mark.parametrize(
    ("model", "context", "exact"),
    [
        ({}, {}, True),
        ({"kernels": "upstream"}, {}, False),
        ({}, {"flash_attention": "off"}, False),
        ({}, {"kv_unified": True}, False),
        ({}, {"cache_type_k": "q8_0"}, False),
    ],
)
def test_exact_are_our_kernels_with_our_attention(tiny_model: Path, model: dict, context: dict, exact: bool) -> None:
    with Model(tiny_model, ModelParams(**model)) as loaded:
        assert is_exact(loaded, ContextParams(**context)) == exact


def test_rows_that_our_kernels_do_not_multiply_are_not_exact(tiny_model: Path, tmp_path: Path) -> None:
    with Model(tiny.tiny_model(tmp_path / "narrow.gguf", width=80)) as narrow:
        assert not is_exact(narrow, ContextParams())
    with Model(tiny_model, ModelParams(loras=(adapter(tmp_path / "lora.gguf", 8),))) as adapted:
        assert not is_exact(adapted, ContextParams())


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_1"])
def test_a_token_of_a_mixture_of_experts_has_the_same_bits_in_every_batch(tmp_path: Path, kind: str) -> None:
    path = mixture(tmp_path / "f32.gguf")
    if kind != "F32":
        quantize(Quantization(source=str(path), type_name=kind), tmp_path / "model.gguf")
        path = tmp_path / "model.gguf"
    params = ContextParams(n_ctx=64, threads=2, n_outputs=40)
    with Model(path, ModelParams()) as model:
        assert is_exact(model, params)
        whole = bits(model, params, [40])
        assert bits(model, params, [1] * 40) == bits(model, params, [2, 5, 32, 1]) == whole
