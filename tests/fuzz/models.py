"""Mutants of model files: headers, hyper-parameters that fit each other, tensors, tokenizers and templates.

Most changes are plausible: a converter's bug or a careless hand could make the file, which passes for a model at first sight.
"""

from __future__ import annotations

import functools
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import growth
import templates
import tiny
import tiny_eagle
from mutants import alter_bytes
from tiny import ARRAY, BOOL, F32, I8, I32, I64, STRING, U8, U32, U64, Tensor, Typed

SMALL = (-1, 0, 1, 2, 3, 4, 5, 7, 8, 12, 15, 16)
NUMBERS = (
    *SMALL,
    24,
    31,
    32,
    33,
    63,
    64,
    65,
    127,
    128,
    256,
    512,
    1023,
    4096,
    65535,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
)
FLOATS = (-1.0, -1e-5, 0.0, 1e-38, 1e-12, 1e-5, 0.5, 1.0, 2.0, 1e4, 1e30, math.inf, -math.inf, math.nan)
TEXTS = (
    "", "none", "linear", "yarn", "longrope", "llama", "gpt2", "bert", "t5", "rwkv", "plamo2", "default", "qwen2", "llama3",
    "smollm", "whitespace", "x", "\x00", "é", "gelu", "silu", "mean",
)  # fmt: skip
TOKENS = (
    "", "a", "aa", " ", "▁", "▁▁", "<0x00>", "<0xZZ>", "<s>", "</s>", "<unk>", "<pad>", "<|im_end|>", "<|endoftext|>", "\n",
    "Ċ", "Ġ", "\ufffd", "\u202e", "日本", "x" * 300, "<think>", "<tool_call>", "[INST]",
)  # fmt: skip
KINDS = (F32, I32, U32, U64, I64, BOOL, STRING, U8, I8)
SOMETIMES = (
    "attention.key_length", "attention.value_length", "rope.scaling.type", "rope.scaling.factor", "attention.sliding_window",
    "expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count", "nextn_predict_layers",
    "rope.dimension_count", "pooling_type", "attention.causal", "vocab_size", "rope.scaling.original_context_length",
    "attention.sliding_window_pattern", "rope.dimension_sections", "leading_dense_block_count", "expert_weights_scale",
    "attention.max_alibi_bias", "attention.clamp_kqv", "attn_logit_softcapping", "use_parallel_residual",
    "attention.group_norm_groups", "expert_feed_forward_length", "logit_scale", "residual_scale", "embedding_length_out",
    "features_length", "rope.freq_base", "rope.freq_base_swa", "ssm.group_count",
)  # fmt: skip
"""Keys of some architectures, which another may find odd."""

EXTRA_TENSORS = (
    "output.bias", "blk.0.attn_q_norm.weight", "blk.0.attn_q.bias", "blk.0.attn_sinks.weight", "rope_freqs.weight",
    "blk.0.ffn_gate_exps.weight", "token_types.weight", "cls.weight",
)  # fmt: skip
SPECIAL = (
    "bos", "eos", "unknown", "padding", "seperator", "cls", "mask", "eot", "eom", "prefix", "suffix", "middle", "fim_pre",
    "fim_suf", "fim_mid",
)  # fmt: skip
TOKENIZERS = ("llama", "gpt2", "bert", "t5", "rwkv", "plamo2", "none", "x", "gemma4", "whitespace")
PRE_TOKENIZERS = (*TEXTS, "gpt-4o", "deepseek-llm", "tekken", "chameleon", "viking", "jina-v2-en")
FLAGS = ("add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces", "add_sep_token")
TENSOR_TYPES = ((1, 2, 1), (30, 2, 1), (26, 4, 1), (28, 8, 1), (8, 34, 32), (2, 18, 32), (24, 1, 1))
"""GGUF's number of a type, and the bytes and values of its blocks."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A model as it is changed. `done` says how."""

    architecture: str
    metadata: dict[str, Any]
    tensors: list[Tensor]
    done: tuple[str, ...] = ()

    def own_keys(self) -> list[str]:
        return [key for key in self.metadata if key.startswith(f"{self.architecture}.")]

    def and_did(self, what: str) -> Parts:
        return replace(self, done=(*self.done, what))


@functools.cache
def recipes() -> dict[str, Any]:
    """The architectures that grow, by name."""
    return json.loads(growth.RECIPES.read_text())


def sound_model(chance: random.Random) -> Parts:
    """A model that loads: the tiny llama half of the time, so that what is common is tried most."""
    if chance.random() < 0.5:
        vocabulary = tiny.default_vocabulary()
        return Parts("llama", tiny.default_metadata(vocabulary), list(tiny.default_tensors(len(vocabulary.tokens))))
    name = chance.choice(sorted(recipes()))
    return Parts(name, growth.metadata_of(recipes()[name]), growth.tensors_of(recipes()[name]))


def mutant(chance: random.Random) -> tuple[bytes, str]:
    """The file of a mutant, and what was done to it."""
    return changed(sound_model(chance), CHANGES, chance)


def head_mutant(chance: random.Random) -> tuple[bytes, str]:
    """The file of a mutant of an EAGLE-3 head for the tiny model, and what was done to it."""
    own = chance.choice((("token_embd", "output"), ("output",), ()))
    known = chance.choice((None, range(5, 90))) if "output" in own else None
    return changed(sound_head(own, known, chance.random() < 0.5), HEAD_CHANGES, chance)


@functools.cache
def sound_head(own: tuple[str, ...], known: range | None, normalizes: bool) -> Parts:
    """A head of the tiny model that has these tensors of its own, and drafts these tokens."""
    metadata, tensors = tiny_eagle.head_parts(own=own, known=known, normalizes=normalizes)
    return Parts(tiny_eagle.ARCHITECTURE, metadata, tensors)


def changed(parts: Parts, changes: Sequence[Change], chance: random.Random) -> tuple[bytes, str]:
    """The file of a model with some changes, and what they were."""
    name = parts.architecture
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        change = chance.choice(changes)
        parts = change(replace(parts, metadata=dict(parts.metadata), tensors=list(parts.tensors)), chance)
    data = tiny.gguf_bytes(parts.metadata, parts.tensors)
    if chance.random() < 0.05:
        data, parts = alter_bytes(data, chance), parts.and_did("bytes")
    return data, f"{name}: {'; '.join(parts.done)}"


# --- metadata ----------------------------------------------------------------------------------------------------------------


def other_number(parts: Parts, chance: random.Random) -> Parts:
    """One hyper-parameter has another value of its kind."""
    key = chance.choice(parts.own_keys())
    old = parts.metadata[key]
    value = old.value if isinstance(old, Typed) else old
    if isinstance(value, list | tuple):
        new = other_array(list(value), old, chance)
    elif isinstance(value, bool):
        new = not value
    elif isinstance(value, int):
        new = Typed(U32, chance.choice((*NUMBERS, value * 2, value // 2, value + 1, value - 1)) % (1 << 32))
    elif isinstance(value, float):
        new = chance.choice((*FLOATS, -value))
    else:
        new = chance.choice(TEXTS)
    parts.metadata[key] = new
    return parts.and_did(f"{key} = {new!r:.80}")


def other_array(values: list[Any], old: Any, chance: random.Random) -> Typed:
    """An array of another length, or with another element."""
    element = old.element if isinstance(old, Typed) and old.element is not None else tiny.guess_type(values).element or I32
    match chance.randrange(3):
        case 0:
            values = values[: chance.randrange(len(values) + 1)]
        case 1:
            values += values
        case _ if values:
            place = chance.randrange(len(values))
            number = chance.choice(SMALL)
            values[place] = chance.choice(FLOATS) if element == F32 else abs(number) if element == U32 else number
    return Typed(ARRAY, values, element)


def per_layer(parts: Parts, chance: random.Random) -> Parts:
    """A number becomes an array with one for each layer, some of them others."""
    keys = [key for key in parts.own_keys() if type(parts.metadata[key]) is int]
    key = chance.choice(keys or parts.own_keys())
    old = parts.metadata[key]
    count = chance.choice((2, 2, 2, 2, 1, 3, 0, 600))
    values = [chance.choice((old if type(old) is int else 2, *SMALL)) for _ in range(count)]
    parts.metadata[key] = Typed(ARRAY, values, I32)
    return parts.and_did(f"{key} = {values[:4]} ({count})")


def other_kind(parts: Parts, chance: random.Random) -> Parts:
    """A value has another type."""
    key = chance.choice([key for key in parts.metadata if not key.endswith((".tokens", ".merges"))])
    kind = chance.choice(KINDS)
    value: Any = chance.randrange(100)
    if kind in (STRING, F32, BOOL):
        value = chance.choice(TEXTS) if kind == STRING else chance.choice(FLOATS) if kind == F32 else chance.random() < 0.5
    parts.metadata[key] = Typed(kind, value)
    return parts.and_did(f"{key} = {value!r} of type {kind}")


def missing_key(parts: Parts, chance: random.Random) -> Parts:
    """A key is missing."""
    key = chance.choice(list(parts.metadata))
    del parts.metadata[key]
    return parts.and_did(f"no {key}")


def new_key(parts: Parts, chance: random.Random) -> Parts:
    """A key of another architecture, or one that the file could do without."""
    name = f"{parts.architecture}.{chance.choice(SOMETIMES)}"
    array = Typed(ARRAY, [chance.choice(SMALL) for _ in range(2)], I32)
    number = Typed(U32, chance.choice(NUMBERS) % (1 << 32))
    value = chance.choice((number, number, chance.choice(FLOATS), chance.choice(TEXTS), chance.random() < 0.5, array))
    parts.metadata[name] = value
    return parts.and_did(f"{name} = {value!r:.80}")


def other_architecture(parts: Parts, chance: random.Random) -> Parts:
    """The tensors of one architecture under the name of another, its keys renamed."""
    name, prefix = chance.choice(sorted(recipes())), f"{parts.architecture}."
    renamed = {
        f"{name}.{key.removeprefix(prefix)}" if key.startswith(prefix) else key: value for key, value in parts.metadata.items()
    }
    return Parts(name, renamed | {"general.architecture": name}, parts.tensors, parts.done).and_did(f"as {name}")


def scaled(parts: Parts, chance: random.Random) -> Parts:
    """Another width, with tensors that follow: hyper-parameters that agree with each other and with the shapes."""
    options = {
        "embedding_length": (32, 48, 60, 128),
        "feed_forward_length": (1, 33, 64, 256),
        "block_count": (1, 3),
        "attention.head_count": (1, 2, 3, 8, 16),
        "attention.head_count_kv": (1, 3, 4, 0),
    }
    name = chance.choice(sorted(options))
    key, new = f"{parts.architecture}.{name}", chance.choice(options[name])
    old = parts.metadata.get(key)
    parts.metadata[key] = new
    if name in ("embedding_length", "feed_forward_length") and isinstance(old, int):
        parts.tensors[:] = [shaped(one, tuple(new if size == old else size for size in one.shape)) for one in parts.tensors]
    return parts.and_did(f"{name} {new} with its tensors")


# --- tensors -----------------------------------------------------------------------------------------------------------------


def shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor with another shape, its data repeated or cut."""
    size = min(4 * math.prod(shape), 1 << 22)
    data = (tensor.data * (size // max(len(tensor.data), 1) + 1))[:size]
    return replace(tensor, shape=shape, data=data or bytes(size))


def other_shape(parts: Parts, chance: random.Random) -> Parts:
    """A tensor has another shape."""
    number = chance.randrange(len(parts.tensors))
    shape = list(parts.tensors[number].shape)
    match chance.randrange(4):
        case 0:
            shape[chance.randrange(len(shape))] = chance.choice((1, 2, 3, 16, 32, 48, 96))
        case 1:
            shape.reverse()
        case 2:
            shape.append(chance.choice((1, 2)))
        case _ if len(shape) > 1:
            shape.pop()
    parts.tensors[number] = shaped(parts.tensors[number], tuple(shape))
    return parts.and_did(f"{parts.tensors[number].name} {shape}")


def other_data(parts: Parts, chance: random.Random) -> Parts:
    """A tensor has another type, or values that are not finite."""
    number = chance.randrange(len(parts.tensors))
    tensor = parts.tensors[number]
    if chance.random() < 0.5:
        value = chance.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff" * 4, b"\0" * 4, b"\xff\xff\x7f\x7f"))
        parts.tensors[number] = replace(tensor, data=value * (len(tensor.data) // 4))
        return parts.and_did(f"{tensor.name} of {value.hex()}")
    kind, size, block = chance.choice(TENSOR_TYPES)
    if tensor.shape[0] % block == 0:
        parts.tensors[number] = replace(tensor, type=kind, data=(tensor.data * 3)[: math.prod(tensor.shape) // block * size])
    return parts.and_did(f"{tensor.name} of type {kind}")


def other_tensors(parts: Parts, chance: random.Random) -> Parts:
    """Tensors are missing, have another name, or are too many."""
    number = chance.randrange(len(parts.tensors))
    tensor = parts.tensors[number]
    match chance.randrange(4):
        case 0:
            del parts.tensors[number]
            return parts.and_did(f"no {tensor.name}")
        case 1:
            name = chance.choice((tensor.name.replace("blk.0", "blk.1"), tensor.name.replace("weight", "bias"), "x"))
            parts.tensors[number] = replace(tensor, name=name)
            return parts.and_did(f"{tensor.name} as {name}")
        case 2:
            name = chance.choice(EXTRA_TENSORS)
            if all(one.name != name for one in parts.tensors):
                parts.tensors.append(shaped(replace(tensor, name=name), chance.choice(((64,), (8,), (64, 64), (16,)))))
            return parts.and_did(f"new {name}")
        case _:
            kind = tensor.name.split(".")[-2:][0]
            parts.tensors[:] = [one for one in parts.tensors if kind not in one.name]
            return parts.and_did(f"no {kind}")


# --- vocabulary and template -------------------------------------------------------------------------------------------------


def other_vocabulary(parts: Parts, chance: random.Random) -> Parts:
    """Tokens, types, scores, merges or special ids differ."""
    tokens = parts.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, Typed) or tokens.element != STRING or not tokens.value:
        return parts
    change = chance.choice((a_token, token_types, a_special_token, a_tokenizer, other_merges, a_flag, more_or_fewer_tokens))
    return change(parts, list(tokens.value), chance)


def a_token(parts: Parts, texts: list[str], chance: random.Random) -> Parts:
    number, text = chance.randrange(len(texts)), chance.choice(TOKENS)
    texts[number] = text
    parts.metadata["tokenizer.ggml.tokens"] = Typed(ARRAY, texts, STRING)
    return parts.and_did(f"token {number} {text!r:.20}")


def token_types(parts: Parts, texts: list[str], chance: random.Random) -> Parts:
    kinds = [chance.choice(range(8)) if chance.random() < 0.1 else tiny.NORMAL for _ in texts]
    parts.metadata["tokenizer.ggml.token_type"] = Typed(ARRAY, kinds, I32)
    return parts.and_did("types of tokens")


def a_special_token(parts: Parts, texts: list[str], chance: random.Random) -> Parts:
    name, value = chance.choice(SPECIAL), chance.choice((0, 1, 5, len(texts) - 1, len(texts), 1 << 31, (1 << 32) - 1))
    parts.metadata[f"tokenizer.ggml.{name}_token_id"] = Typed(U32, value)
    return parts.and_did(f"{name} = {value}")


def a_tokenizer(parts: Parts, texts: list[str], chance: random.Random) -> Parts:
    if chance.random() < 0.5:
        pre = chance.choice(PRE_TOKENIZERS)
        parts.metadata["tokenizer.ggml.pre"] = pre
        return parts.and_did(f"pre {pre!r}")
    model = chance.choice(TOKENIZERS)
    parts.metadata["tokenizer.ggml.model"] = model
    parts.metadata["tokenizer.ggml.scores"] = Typed(ARRAY, [chance.choice(FLOATS) for _ in texts], F32)
    return parts.and_did(f"tokenizer {model}")


def other_merges(parts: Parts, texts: list[str], chance: random.Random) -> Parts:
    pairs = [(chance.choice(TOKENS), chance.choice(TOKENS)) for _ in range(20)]
    merges = [f"{left} {right}" if chance.random() < 0.7 else left for left, right in pairs]
    parts.metadata["tokenizer.ggml.merges"] = Typed(ARRAY, merges, STRING)
    return parts.and_did("merges")


def a_flag(parts: Parts, texts: list[str], chance: random.Random) -> Parts:
    flag = chance.choice(FLAGS)
    parts.metadata[f"tokenizer.ggml.{flag}"] = chance.random() < 0.5
    return parts.and_did(flag)


def more_or_fewer_tokens(parts: Parts, texts: list[str], chance: random.Random) -> Parts:
    """Other tokens in number, at times with types and tensors that follow."""
    size = chance.choice((1, len(texts) // 2, len(texts) - 1, len(texts) + 3))
    texts = [*texts, *(f"extra{number}" for number in range(3))][:size]
    parts.metadata["tokenizer.ggml.tokens"] = Typed(ARRAY, texts, STRING)
    if chance.random() < 0.7:
        parts.metadata["tokenizer.ggml.token_type"] = Typed(ARRAY, [tiny.NORMAL] * size, I32)
        for number, tensor in enumerate(parts.tensors):
            if tensor.name in ("token_embd.weight", "output.weight"):
                parts.tensors[number] = shaped(tensor, (*tensor.shape[:-1], size))
    return parts.and_did(f"{size} tokens")


def other_template(parts: Parts, chance: random.Random) -> Parts:
    """A chat template that is hostile, or nearly sound."""
    parts.metadata["tokenizer.chat_template"] = templates.mutant(chance)
    return parts.and_did("template")


def other_table(parts: Parts, chance: random.Random) -> Parts:
    """A head drafts other tokens."""
    known = [chance.choice((*NUMBERS, -1, 308, 309, 1 << 40)) for _ in range(chance.choice((1, 85, 85, 309)))]
    parts.tensors[:] = [*(one for one in parts.tensors if one.name != "d2t"), tiny_eagle.token_table(known)]
    return parts.and_did(f"tokens {known[:4]} ({len(known)})")


Change = Callable[[Parts, random.Random], Parts]

CHANGES: tuple[Change, ...] = (
    other_number, other_number, other_number, per_layer, other_kind, missing_key, new_key, new_key, other_architecture, scaled,
    other_shape, other_data, other_tensors, other_vocabulary, other_vocabulary, other_template,
)  # fmt: skip

HEAD_CHANGES: tuple[Change, ...] = (
    other_number, other_number, other_number, per_layer, other_kind, missing_key, new_key, scaled, other_shape, other_shape,
    other_data, other_tensors, other_tensors, other_table, other_table, other_vocabulary,
)  # fmt: skip
