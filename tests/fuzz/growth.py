"""Tiny models of other architectures, grown from llama.cpp's own complaints.

`python tests/fuzz/growth.py` starts each architecture from the metadata of a small llama, loads it in a child, and adds the
key or the tensor that llama.cpp misses, or corrects the shape that it expects, until the file loads. The recipes go to
`architectures.json`, from which the fuzzer makes its files.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]

import tiny
from forked import Say, run_forked
from tiny import F32, I32, Tensor, Typed

from llamacli.errors import LlamacliError
from llamacli.gguf.check.architectures import REQUIRED_KEYS

RECIPES = Path(__file__).parent / "architectures.json"
MOST_STEPS = 400

LAYERS, WIDTH, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 2, 64, 4, 2, 96, 128

VALUES: dict[str, Any] = {
    "attention.sliding_window": 32, "expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32,
    "expert_shared_count": 1, "expert_gating_func": 1, "logit_scale": 1.0, "wkv.head_size": 16, "attention.clamp_kqv": 8.0,
    "ssm.conv_kernel": 4, "ssm.group_count": 2, "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.time_step_rank": 8,
    "attention.q_lora_rank": 16, "attention.kv_lora_rank": 16, "use_parallel_residual": True, "shortconv.l_cache": 3,
    "attention.relative_buckets_count": 8, "leading_dense_block_count": 1, "interleave_moe_layer_step": 1,
    "moe_every_n_layers": 1, "kda.head_dim": 16, "attention.indexer.head_count": 2, "attention.indexer.key_length": 16,
    "attention.indexer.top_k": 8, "attention.key_length_mla": 32, "attention.value_length_mla": 16, "rope.dimension_count": 16,
    "kda.gate_lower_bound": -1.0, "hyper_connection.count": 4, "hrm.layers_per_stack": 1, "hrm.h_cycles": 1, "hrm.l_cycles": 1,
    "experts_per_group": 2, "embedding_length_per_layer_input": 16, "expert_weights_scale": 1.0, "expert_weights_norm": True,
    "embedding_length_out": 64, "features_length": 64, "posnet.embedding_length": 64, "convnext.embedding_length": 64,
}  # fmt: skip
"""Values of keys that llama.cpp misses, without the architecture's prefix; others are small numbers."""

_LATENT = {
    "rope.dimension_count": 8, "attention.key_length": 24, "attention.value_length": 16, "attention.key_length_mla": 24,
    "attention.value_length_mla": 16, "attention.head_count_kv": 1,
}  # fmt: skip
"""Sizes of attention with a latent cache (MLA), where keys have a part that is rotated and one that is not."""


def base_metadata(architecture: str) -> dict[str, Any]:
    """The metadata from which an architecture grows, without the vocabulary."""
    start = tiny.default_metadata(
        tiny.Vocabulary((), ()), architecture=architecture, layers=LAYERS, width=WIDTH, heads=HEADS, kv_heads=KV_HEADS,
        feed_forward=FEED_FORWARD, context=CONTEXT, template=None,
    )  # fmt: skip
    metadata = {key: value for key, value in start.items() if not key.startswith("tokenizer.")}
    metadata |= {f"{architecture}.attention.layer_norm_epsilon": 1e-5, f"{architecture}.embedding_length_out": WIDTH}
    del metadata[f"{architecture}.vocab_size"]
    if f"{architecture}.attention.kv_lora_rank" in REQUIRED_KEYS[architecture] or architecture == "deepseek2":
        metadata |= {f"{architecture}.{name}": size for name, size in _LATENT.items()}
    for key in REQUIRED_KEYS[architecture]:
        metadata.setdefault(key, value_of(key.removeprefix(f"{architecture}.")))
    return metadata


def value_of(name: str) -> Any:
    """A plausible value of a key, by its name without the architecture's prefix."""
    if name in VALUES:
        return VALUES[name]
    if name.endswith("dimension_sections"):
        return [4, 2, 2, 0]
    if "xielu" in name:
        return Typed(tiny.ARRAY, [0.5] * LAYERS, F32)
    return 1e-5 if "epsilon" in name or "eps" in name else 1.0 if "scale" in name or "freq" in name or "beta" in name else 2


def model_bytes(recipe: Mapping[str, Any], vocabulary: tiny.Vocabulary | None = None) -> bytes:
    """The file of a recipe: `metadata`, and `tensors` with the shape of each."""
    return tiny.gguf_bytes(metadata_of(recipe, vocabulary), tensors_of(recipe))


def metadata_of(recipe: Mapping[str, Any], vocabulary: tiny.Vocabulary | None = None) -> dict[str, Any]:
    """The metadata of a recipe with that of a vocabulary."""
    own = {key: _typed(value) for key, value in recipe["metadata"].items()}
    return own | tiny.tokenizer_metadata(vocabulary or tiny.default_vocabulary()) | {"tokenizer.chat_template": tiny.CHATML}


def tensors_of(recipe: Mapping[str, Any]) -> list[Tensor]:
    """The tensors of a recipe: norms of ones, other values small and different."""
    made = []
    for name, (_, shape) in recipe["tensors"].items():
        count = math.prod(shape)
        values = [1.0] * count if "norm" in name else [((7 * place) % 13 - 6) / 40 for place in range(count)]
        made.append(Tensor(name, tuple(shape), tiny.floats(values)))
    return made


def _typed(value: Any) -> Any:
    return Typed(value["type"], value["value"], value.get("element")) if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    return {"type": value.type, "value": value.value, "element": value.element} if isinstance(value, Typed) else value


def grow(architecture: str, folder: Path) -> tuple[dict[str, Any], str]:
    """Return the recipe that loads, or as far as it came, and why it went no further (empty if it loads)."""
    metadata = base_metadata(architecture)
    shapes: dict[str, tuple[int, list[int]]] = {"token_embd.weight": (0, [WIDTH, len(tiny.default_vocabulary().tokens)])}
    path = folder / "grown.gguf"
    before = ""
    for _ in range(MOST_STEPS):
        recipe = {"metadata": {key: _plain(value) for key, value in metadata.items()}, "tensors": shapes}
        path.write_bytes(model_bytes(recipe))
        complaint = run_forked(lambda say: _load(path, say))
        reason = complaint.said.get("why", "") or complaint.reason
        if complaint.kind == "done" and not reason:
            return recipe, ""
        if reason == before or not _mend(reason, architecture, metadata, shapes):
            return recipe, reason
        before = reason
    return recipe, "it never ends"


def _load(path: Path, say: Say) -> None:
    from llamacli.engine.params import ModelParams
    from llamacli.engine.runtime import loading
    from llamacli.engine.runtime.cancel import CancelFlag

    try:
        loading.load(path, ModelParams(), 0, False, CancelFlag(), None)
    except LlamacliError as error:
        say(why=str(error))


def _mend(reason: str, architecture: str, metadata: dict[str, Any], shapes: dict[str, tuple[int, list[int]]]) -> bool:
    """Change the recipe as a complaint asks. Returns whether something was changed."""
    if found := re.search(r"key not found in model: ([\w.-]+)", reason):
        key = found[1]
        value = value_of(key.removeprefix(f"{architecture}."))
        if "array key" in reason:
            value = Typed(tiny.ARRAY, [2] * LAYERS, I32)
        metadata[key] = value
        return True
    if (
        re.search(r"n_expert\w* (must be|cannot be|>|==)|n_ids_used|zero experts", reason)
        and f"{architecture}.expert_count" not in metadata
    ):
        metadata |= {f"{architecture}.expert_count": 4, f"{architecture}.expert_used_count": 2}
        return True
    if "token type count" in reason and "tokenizer.ggml.token_type_count" not in metadata:
        metadata["tokenizer.ggml.token_type_count"] = 2
        return True
    if found := re.search(r"key ([\w.-]+) has wrong type (\w+) but expected type (\w+)", reason):
        kinds = {"u32": tiny.U32, "f32": F32, "i32": I32, "bool": tiny.BOOL, "str": tiny.STRING, "arr": tiny.ARRAY}
        value = {"f32": 1.0, "bool": True, "str": "x", "arr": [2] * LAYERS}.get(found[3], 2)
        metadata[found[1]] = Typed(kinds[found[3]], value, I32 if found[3] == "arr" else None)
        return True
    if found := re.search(r"(?:missing )?tensor '([^']+)'(?: not found|$)", reason.rstrip(")")):
        shapes[found[1]] = (0, [WIDTH])
        return True
    if found := re.search(r"tensor '([^']+)' has wrong shape; expected ([\d, ]+), got", reason):
        sizes = [int(size) for size in found[2].split(",")]
        while len(sizes) > 1 and sizes[-1] == 1:
            sizes.pop()
        if max(sizes) > 1 << 20:
            return False
        shapes[found[1]] = (0, sizes)
        return True
    return False


def main(names: list[str]) -> None:
    """Grow the named architectures, or all. Those that do not run as they are, in a shape this small, are left out."""
    import cases  # it imports this module

    recipes = json.loads(RECIPES.read_text()) if RECIPES.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for architecture in names or sorted(REQUIRED_KEYS):
            recipes.pop(architecture, None)
            recipe, reason = grow(architecture, Path(folder))
            if not reason:
                path = Path(folder) / "grown.gguf"
                ended = run_forked(lambda say, path=path: cases.use_model(path, say))
                reason = ended.reason or ended.kind if ended.kind not in ("done", "refused") else ""
            if not reason:
                recipes[architecture] = recipe
            print(f"{architecture}: {reason[-200:] or len(recipe['tensors'])}", flush=True)
            lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(recipes[name])}" for name in sorted(recipes))
            RECIPES.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
