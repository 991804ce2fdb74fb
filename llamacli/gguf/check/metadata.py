"""Checks of the metadata: what llama.cpp requires to load a file whose header parses.

llama.cpp refuses some violations with a message, and aborts the process on others: a layer count of 0, more experts used than
present, duplicate tokens. Sources: `ggml/src/gguf.cpp`, `load_hparams` and the vocabulary's `load` in `src/`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from llamacli.gguf.arrays import read_integers
from llamacli.gguf.check.attention import attention_findings
from llamacli.gguf.check.finding import Finding, Severity, key_finding, shown_value
from llamacli.gguf.check.pre_tokenizers import PRE_TOKENIZERS
from llamacli.gguf.check.value_types import type_findings
from llamacli.gguf.header import Header
from llamacli.gguf.layout import MAX_EXPERTS, MAX_LAYERS, ValueType
from llamacli.gguf.source import Source

MAX_LENGTH = 1 << 31

NO_VOCABULARY = ("none", "no_vocab")

PER_TOKEN = {
    "tokenizer.ggml.scores": (ValueType.FLOAT32, ValueType.INT32),
    "tokenizer.ggml.token_type": (ValueType.INT32,),
}
"""Arrays with one element per token, and the element types that llama.cpp reads."""


def metadata_findings(header: Header, source: Source, *, vocabulary_only: bool = False) -> Iterator[Finding]:
    """Yield keys that are missing, or whose values llama.cpp refuses or crashes on. `source` is that of the header."""
    architecture = header.architecture
    if not architecture:
        yield key_finding(header, "general.architecture", "missing, expected the name of an architecture")
        return
    if not vocabulary_only:
        yield from type_findings(header, architecture)
        yield from _dimension_findings(header, architecture)
        yield from attention_findings(header, source, architecture)
        yield from _epsilon_findings(header, architecture)
        yield from _frequency_findings(header, architecture)
        yield from _expert_findings(header, source, architecture)
    yield from _tokenizer_findings(header)


def _dimension_findings(header: Header, architecture: str) -> Iterator[Finding]:
    for name, most in (("block_count", MAX_LAYERS), ("embedding_length", MAX_LENGTH), ("context_length", MAX_LENGTH)):
        key = f"{architecture}.{name}"
        value = header.integer(key)
        if key not in header.metadata:
            yield key_finding(header, key, "missing")
        elif value is not None and not 0 < value <= most:
            yield key_finding(header, key, f"is {shown_value(header, key)}, expected a number from 1 to {most}")
    layers = header.integer(f"{architecture}.block_count") or 0
    extra = header.integer(f"{architecture}.nextn_predict_layers") or 0
    if extra > layers:
        yield key_finding(header, f"{architecture}.nextn_predict_layers", f"is {extra}, more than the {layers} layers")
    pooling = f"{architecture}.pooling_type"
    if pooling in header.metadata and header.integer(pooling) not in range(5):
        yield key_finding(header, pooling, f"is {shown_value(header, pooling)}, expected 0 to 4")


def _epsilon_findings(header: Header, architecture: str) -> Iterator[Finding]:
    """Yield epsilons on which llama.cpp aborts."""
    for name in ("layer_norm_rms_epsilon", "layer_norm_epsilon", "group_norm_epsilon"):
        key = f"{architecture}.attention.{name}"
        value = header.number(key)
        if value is not None and not 0 <= value < math.inf:
            yield key_finding(header, key, f"is {value:g}, expected a small positive number")


def _frequency_findings(header: Header, architecture: str) -> Iterator[Finding]:
    """Yield bases of rotations from which every result is NaN."""
    for name in ("rope.freq_base", "rope.freq_base_swa"):
        key = f"{architecture}.{name}"
        value = header.number(key)
        if value is not None and value < 0:
            yield key_finding(header, key, f"is {value:g}, expected a positive number")


def _expert_findings(header: Header, source: Source, architecture: str) -> Iterator[Finding]:
    names = ("expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count")
    count, used, groups, groups_used = (header.integer(f"{architecture}.{name}") or 0 for name in names)
    per_layer = header.array(f"{architecture}.expert_used_count")
    if per_layer:
        used = max(read_integers(source, header, per_layer, MAX_LAYERS), default=0)
    if count > MAX_EXPERTS:
        yield key_finding(header, f"{architecture}.expert_count", f"is {count}, more than {MAX_EXPERTS}")
    if used > count or (count and not used):
        yield key_finding(header, f"{architecture}.expert_used_count", f"is {used} of {count} experts")
    if groups and (groups >= count or (groups > 1 and (count % groups or not 0 < groups_used < groups))):
        yield key_finding(header, f"{architecture}.expert_group_count", f"is {groups} ({groups_used} used) for {count} experts")


def _tokenizer_findings(header: Header) -> Iterator[Finding]:
    model = header.text("tokenizer.ggml.model")
    if model is None:
        yield key_finding(header, "tokenizer.ggml.model", "missing, expected the name of a tokenizer")
        return
    if model in NO_VOCABULARY:
        return
    if header.text("tokenizer.ggml.pre") == "whitespace" and model != "whitespace":
        yield key_finding(header, "tokenizer.ggml.pre", "is whitespace: llama.cpp aborts on two spaces in a prompt")
    pre = header.text("tokenizer.ggml.pre")
    if model == "gpt2" and pre and pre not in PRE_TOKENIZERS:
        yield key_finding(
            header, "tokenizer.ggml.pre", f"is {shown_value(header, 'tokenizer.ggml.pre')}, an unknown pre-tokenizer"
        )
    tokens = header.array("tokenizer.ggml.tokens")
    if tokens is None or tokens.element != ValueType.STRING or not tokens.count:
        yield key_finding(header, "tokenizer.ggml.tokens", "missing, or not an array of strings")
        return
    for key, types in PER_TOKEN.items():
        array = header.array(key)
        if array is None:
            if key in header.metadata:
                yield key_finding(header, key, f"is {shown_value(header, key)}, expected an array")
        elif array.element not in types:
            yield key_finding(header, key, f"is an array of {array.element.label if array.element is not None else 'text'}")
        elif array.count != tokens.count:
            severity: Severity = "error" if array.count < tokens.count else "warning"
            yield key_finding(header, key, f"has {array.count} elements for {tokens.count} tokens", severity)
    yield from _token_id_findings(header, tokens.count)


def _token_id_findings(header: Header, count: int) -> Iterator[Finding]:
    for key in header.metadata:
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id"):
            token = header.integer(key)
            if token is None or not 0 <= token < count:
                yield key_finding(
                    header, key, f"is {shown_value(header, key)}, outside the vocabulary of {count} tokens", "warning"
                )
