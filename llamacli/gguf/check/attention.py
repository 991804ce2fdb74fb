"""Checks of the attention's hyper-parameters: heads, lengths of keys and values, and rotation.

llama.cpp asserts most of these when it builds the graph, which ends the process. Sources: `load_hparams` in
`src/llama-model.cpp`, the graphs in `src/models/`, and `ggml_rope_impl` in `ggml/src/ggml.c`, at commit 0c1e57098.
"""

from __future__ import annotations

from collections.abc import Iterator

from llamacli.gguf.arrays import read_integers
from llamacli.gguf.check.finding import Finding, key_finding, shown_value
from llamacli.gguf.header import Header
from llamacli.gguf.layout import MAX_LAYERS
from llamacli.gguf.source import Source

ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")

_FULL_ROTATION = frozenset((
    "apertus", "arcee", "arctic", "baichuan", "chameleon", "codeshell", "cogvlm", "cohere2moe", "dbrx", "deci", "deepseek",
    "dots1", "dream", "ernie4_5", "ernie4_5-moe", "exaone", "exaone-moe", "exaone4", "falcon", "granite", "granite_swa",
    "granitemoe", "graniteswitch", "grok", "grovemoe", "hunyuan-dense", "hunyuan-moe", "hunyuan_vl", "hy_v3", "internlm2",
    "jais2", "llada", "llada-moe", "llama", "llama-embed", "llama4", "maincoder", "mellum", "minicpm", "mistral3", "olmo",
    "olmo2", "olmoe", "orion", "paddleocr", "pangu-embedded", "plamo", "pockettts", "qwen2", "qwen2moe", "qwen2vl",
    "qwen3", "qwen3moe", "qwen3tts", "qwen3vl", "qwen3vlmoe", "rnd1", "seed_oss", "smallthinker", "smollm3", "starcoder2",
    "talkie", "xverse",
))  # fmt: skip
"""Architectures that rotate all of a key."""

EQUAL_LENGTHS = frozenset((
    "afmoe", "apertus", "arcee", "arctic", "baichuan", "bailingmoe2", "bert", "bitnet", "bloom", "chameleon", "chatglm",
    "codeshell", "cogvlm", "cohere2", "cohere2moe", "command-r", "dbrx", "deci", "deepseek", "dflash", "dots1", "dream",
    "eagle3", "ernie4_5", "ernie4_5-moe", "eurobert", "exaone", "falcon", "glm4", "glm4moe", "gpt2", "gptneox", "granite",
    "granite_swa", "granitehybrid", "granitemoe", "graniteswitch", "grok", "grovemoe", "hunyuan-dense", "hunyuan-moe",
    "hunyuan_vl", "hy_v3", "internlm2", "jais", "jais2", "jina-bert-v2", "jina-bert-v3", "laguna", "llada", "llada-moe",
    "llama", "llama-embed", "llama4", "maincoder", "mellum", "minicpm", "minimax-01", "minimax-m2", "minimax-m3",
    "mistral3", "modern-bert", "mpt", "muse-glimmer", "nanbeige", "nemotron", "nemotron_h", "nemotron_h_moe", "neo-bert",
    "nomic-bert", "nomic-bert-moe", "olmo", "olmo2", "olmoe", "openelm", "orion", "paddleocr", "pangu-embedded", "phi2",
    "phi3", "phimoe", "plamo", "pockettts", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen35", "qwen35moe",
    "qwen3moe", "qwen3next", "qwen3tts", "qwen3vl", "qwen3vlmoe", "qwen4exp", "refact", "rnd1", "seed_oss", "smallthinker",
    "smollm3", "spark2_5", "stablelm", "starcoder", "starcoder2", "t5", "t5encoder", "xverse",
))  # fmt: skip
"""Architectures whose keys and values have one length."""


def attention_findings(header: Header, source: Source, architecture: str) -> Iterator[Finding]:
    """Yield hyper-parameters of the attention that llama.cpp refuses or aborts on. `source` is that of the header."""
    width = header.integer(f"{architecture}.embedding_length") or 0
    heads_key, kv_key = f"{architecture}.attention.head_count", f"{architecture}.attention.head_count_kv"
    heads, kv_heads = header.integer(heads_key), header.integer(kv_key)
    if heads is not None and not 0 <= heads <= max(width, 1):
        yield key_finding(header, heads_key, f"is {heads}, expected 0 to {max(width, 1)}, the length of an embedding")
    if heads and kv_heads is not None and (kv_heads < 0 or kv_heads > heads or (kv_heads and heads % kv_heads)):
        yield key_finding(header, kv_key, f"is {kv_heads}, expected a divisor of the {heads} heads")
    all_heads, all_kv_heads = (_of_layers(header, source, key) for key in (heads_key, kv_key))
    if len(all_heads) > 1 or len(all_kv_heads) > 1:
        yield from _layer_heads(header, kv_key, all_heads, all_kv_heads)
    if width and all_heads and 0 < all_heads[0] <= width:
        yield from _lengths(header, architecture, width // all_heads[0])
    scaling = f"{architecture}.rope.scaling.type"
    if header.text(scaling) is not None and header.text(scaling) not in ROPE_SCALINGS:
        yield key_finding(header, scaling, f"is {shown_value(header, scaling)}, expected one of {', '.join(ROPE_SCALINGS)}")


def _of_layers(header: Header, source: Source, key: str) -> list[int]:
    """Return the numbers of the layers; a single one is that of all."""
    if array := header.array(key):
        return list(read_integers(source, header, array, MAX_LAYERS))
    value = header.integer(key)
    return [] if value is None else [value]


def _layer_heads(header: Header, kv_key: str, heads: list[int], kv_heads: list[int]) -> Iterator[Finding]:
    """Yield the first layer whose heads are not a multiple of its KV heads."""
    count = max(len(heads), len(kv_heads))
    heads = heads * count if len(heads) == 1 else heads
    kv_heads = kv_heads * count if len(kv_heads) == 1 else kv_heads
    for layer, (own, own_kv) in enumerate(zip(heads, kv_heads, strict=False)):
        if own < 0 or own_kv < 0 or (own and own_kv and own % own_kv):
            yield key_finding(header, kv_key, f"is {own_kv} in layer {layer}, expected a divisor of the {own} heads")
            return


def _lengths(header: Header, architecture: str, default: int) -> Iterator[Finding]:
    """Yield lengths of keys, values and rotations that cannot be combined. `default` is that of a head if no key gives it."""
    key_name, value_name, rotated_name = (
        f"{architecture}.{name}" for name in ("attention.key_length", "attention.value_length", "rope.dimension_count")
    )
    length, value_length = (header.integer(name) for name in (key_name, value_name))
    length, value_length = default if length is None else length, default if value_length is None else value_length
    if architecture in EQUAL_LENGTHS and length != value_length:
        given = value_name if header.integer(value_name) is not None else key_name
        yield key_finding(header, given, f"keys have {length} elements and values {value_length}, expected the same number")
    rotated = header.integer(rotated_name)
    if rotated is None:
        return
    if architecture in _FULL_ROTATION and rotated != length:
        yield key_finding(header, rotated_name, f"is {rotated}, expected {length} (key_length)")
    elif rotated < 0 or rotated % 2:
        yield key_finding(header, rotated_name, f"is {rotated}, expected an even number")
    elif rotated > length and f"{architecture}.attention.key_length_mla" not in header.metadata:
        yield key_finding(header, rotated_name, f"is {rotated}, more than the {length} elements of a key")
