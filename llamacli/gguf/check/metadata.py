"""Checks of the metadata: what llama.cpp requires to load a file whose header parses.

llama.cpp refuses some violations with a message, and aborts the process on others: a layer count of 0, more experts used than
present, duplicate tokens. Sources: `ggml/src/gguf.cpp`, `load_hparams` and the vocabulary's `load` in `src/`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from llamacli.gguf.arrays import read_integers
from llamacli.gguf.check.finding import Finding, Severity
from llamacli.gguf.check.pre_tokenizers import PRE_TOKENIZERS
from llamacli.gguf.check.value_types import type_findings
from llamacli.gguf.header import Header
from llamacli.gguf.layout import MAX_EXPERTS, MAX_LAYERS, ValueType
from llamacli.gguf.source import Source
from llamacli.gguf.text import printable

MAX_LENGTH = 1 << 31

NO_VOCABULARY = ("none", "no_vocab")
_FULL_ROTATION = ("llama", "deci", "falcon", "llama-embed")
"""Architectures that rotate all of a key."""
ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")

PER_TOKEN = {
    "tokenizer.ggml.scores": (ValueType.FLOAT32, ValueType.INT32),
    "tokenizer.ggml.token_type": (ValueType.INT32,),
}
"""Arrays with one element per token, and the element types that llama.cpp reads."""


def metadata_findings(header: Header, source: Source, *, vocabulary_only: bool = False) -> Iterator[Finding]:
    """Yield keys that are missing, or whose values llama.cpp refuses or crashes on. `source` is that of the header."""
    architecture = header.architecture
    if not architecture:
        yield _about(header, "general.architecture", "missing, expected the name of an architecture")
        return
    if not vocabulary_only:
        yield from type_findings(header, architecture)
        yield from _dimension_findings(header, architecture)
        yield from _attention_findings(header, source, architecture)
        yield from _epsilon_findings(header, architecture)
        yield from _expert_findings(header, source, architecture)
    yield from _tokenizer_findings(header)


def _about(header: Header, key: str, message: str, severity: Severity = "error") -> Finding:
    entry = header.metadata.get(key)
    return Finding(severity, f"key {printable(key, 60)}", message, entry.offset if entry else None)


def _dimension_findings(header: Header, architecture: str) -> Iterator[Finding]:
    for name, most in (("block_count", MAX_LAYERS), ("embedding_length", MAX_LENGTH), ("context_length", MAX_LENGTH)):
        key = f"{architecture}.{name}"
        value = header.integer(key)
        if key not in header.metadata:
            yield _about(header, key, "missing")
        elif value is not None and not 0 < value <= most:
            yield _about(header, key, f"is {_shown(header, key)}, expected a number from 1 to {most}")
    layers = header.integer(f"{architecture}.block_count") or 0
    extra = header.integer(f"{architecture}.nextn_predict_layers") or 0
    if extra > layers:
        yield _about(header, f"{architecture}.nextn_predict_layers", f"is {extra}, more than the {layers} layers")
    pooling = f"{architecture}.pooling_type"
    if pooling in header.metadata and header.integer(pooling) not in range(5):
        yield _about(header, pooling, f"is {_shown(header, pooling)}, expected 0 to 4")


def _attention_findings(header: Header, source: Source, architecture: str) -> Iterator[Finding]:
    width = header.integer(f"{architecture}.embedding_length") or 0
    heads_key, kv_key = f"{architecture}.attention.head_count", f"{architecture}.attention.head_count_kv"
    heads, kv_heads = header.integer(heads_key), header.integer(kv_key)
    if heads is not None and not 0 <= heads <= max(width, 1):
        yield _about(header, heads_key, f"is {heads}, expected 0 to {max(width, 1)}, the length of an embedding")
    if heads and kv_heads is not None and (kv_heads < 0 or kv_heads > heads or (kv_heads and heads % kv_heads)):
        yield _about(header, kv_key, f"is {kv_heads}, expected a divisor of the {heads} heads")
    yield from _layer_head_findings(header, source, heads_key, kv_key)
    scaling = f"{architecture}.rope.scaling.type"
    if header.text(scaling) is not None and header.text(scaling) not in ROPE_SCALINGS:
        yield _about(header, scaling, f"is {_shown(header, scaling)}, expected one of {', '.join(ROPE_SCALINGS)}")


def _layer_head_findings(header: Header, source: Source, heads_key: str, kv_key: str) -> Iterator[Finding]:
    """Yield the first layer whose heads are not a multiple of its KV heads, if either is a per-layer array."""
    arrays = [header.array(key) for key in (heads_key, kv_key)]
    if not any(arrays):
        return
    heads, kv_heads = (
        read_integers(source, header, array, MAX_LAYERS) if array else [header.integer(key) or 0] * MAX_LAYERS
        for array, key in zip(arrays, (heads_key, kv_key), strict=True)
    )
    for layer, (own, own_kv) in enumerate(zip(heads, kv_heads, strict=False)):
        if own < 0 or own_kv < 0 or (own and own_kv and own % own_kv):
            yield _about(header, kv_key, f"is {own_kv} in layer {layer}, expected a divisor of the {own} heads")
            return


def _epsilon_findings(header: Header, architecture: str) -> Iterator[Finding]:
    """Yield epsilons on which llama.cpp aborts."""
    for name in ("layer_norm_rms_epsilon", "layer_norm_epsilon", "group_norm_epsilon"):
        key = f"{architecture}.attention.{name}"
        value = header.number(key)
        if value is not None and not 0 <= value < math.inf:
            yield _about(header, key, f"is {value:g}, expected a small positive number")
    heads = header.integer(f"{architecture}.attention.head_count")
    width = header.integer(f"{architecture}.embedding_length")
    rotated = header.integer(f"{architecture}.rope.dimension_count")
    if architecture in _FULL_ROTATION and heads and width and rotated is not None:
        length = header.integer(f"{architecture}.attention.key_length") or width // heads
        if rotated != length:
            yield _about(header, f"{architecture}.rope.dimension_count", f"is {rotated}, expected {length} (key_length)")


def _expert_findings(header: Header, source: Source, architecture: str) -> Iterator[Finding]:
    names = ("expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count")
    count, used, groups, groups_used = (header.integer(f"{architecture}.{name}") or 0 for name in names)
    per_layer = header.array(f"{architecture}.expert_used_count")
    if per_layer:
        used = max(read_integers(source, header, per_layer, MAX_LAYERS), default=0)
    if count > MAX_EXPERTS:
        yield _about(header, f"{architecture}.expert_count", f"is {count}, more than {MAX_EXPERTS}")
    if used > count or (count and not used):
        yield _about(header, f"{architecture}.expert_used_count", f"is {used} of {count} experts")
    if groups and (groups >= count or (groups > 1 and (count % groups or not 0 < groups_used < groups))):
        yield _about(header, f"{architecture}.expert_group_count", f"is {groups} ({groups_used} used) for {count} experts")


def _tokenizer_findings(header: Header) -> Iterator[Finding]:
    model = header.text("tokenizer.ggml.model")
    if model is None:
        yield _about(header, "tokenizer.ggml.model", "missing, expected the name of a tokenizer")
        return
    if model in NO_VOCABULARY:
        return
    if header.text("tokenizer.ggml.pre") == "whitespace" and model != "whitespace":
        yield _about(header, "tokenizer.ggml.pre", "is whitespace: llama.cpp aborts on two spaces in a prompt")
    pre = header.text("tokenizer.ggml.pre")
    if model == "gpt2" and pre and pre not in PRE_TOKENIZERS:
        yield _about(header, "tokenizer.ggml.pre", f"is {_shown(header, 'tokenizer.ggml.pre')}, an unknown pre-tokenizer")
    tokens = header.array("tokenizer.ggml.tokens")
    if tokens is None or tokens.element != ValueType.STRING or not tokens.count:
        yield _about(header, "tokenizer.ggml.tokens", "missing, or not an array of strings")
        return
    for key, types in PER_TOKEN.items():
        array = header.array(key)
        if array is None:
            if key in header.metadata:
                yield _about(header, key, f"is {_shown(header, key)}, expected an array")
        elif array.element not in types:
            yield _about(header, key, f"is an array of {array.element.label if array.element is not None else 'text'}")
        elif array.count != tokens.count:
            severity: Severity = "error" if array.count < tokens.count else "warning"
            yield _about(header, key, f"has {array.count} elements for {tokens.count} tokens", severity)
    yield from _token_id_findings(header, tokens.count)


def _token_id_findings(header: Header, count: int) -> Iterator[Finding]:
    for key in header.metadata:
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id"):
            token = header.integer(key)
            if token is None or not 0 <= token < count:
                yield _about(header, key, f"is {_shown(header, key)}, outside the vocabulary of {count} tokens", "warning")


def _shown(header: Header, key: str) -> str:
    """Return a value as messages show it."""
    entry = header.metadata[key]
    if isinstance(entry.value, str):
        return repr(printable(entry.value, 40))
    return str(entry.value) if isinstance(entry.value, (int, float)) else "an array"
