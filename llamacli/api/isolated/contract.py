"""What both sides of an isolated `Llama` know of each other."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llamacli.backend.child.wire.method import Method

CALLS: Final = (
    "create_embedding", "detokenize", "embed", "eval", "logits", "n_ctx", "n_embd", "n_vocab", "pooling_type", "reset",
    "sample", "set_seed", "token_bos", "token_eos", "token_nl", "token_to_piece", "tokenize",
)  # fmt: skip
"""Methods of `Llama` that are forwarded, and return a value."""

STREAMS: Final = ("create_chat_completion", "create_completion", "generate")
"""Methods that return a value or an iterator."""

PROPERTIES: Final = (
    "kv_overrides", "last_n_tokens_size", "lora_path", "lora_scale", "metadata", "n_batch", "n_parallel", "n_threads",
    "n_threads_batch", "n_tokens", "numa", "tensor_split",
)  # fmt: skip


class Forwarded(msgspec.Struct, frozen=True):
    """A call of a method, or a property: its name and arguments, all of them plain values."""

    name: str
    positional: list[Any] = []
    keywords: dict[str, Any] = {}


class Array(msgspec.Struct, frozen=True):
    """An array of NumPy: its type, its shape, its bytes in the order of this machine."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


OPEN: Final = Method("open", dict[str, Any], None, items=float)
CALL: Final = Method("call", Forwarded, Any)
CALL_ARRAY: Final = Method("call_array", Forwarded, Array)
STREAM: Final = Method("stream", Forwarded, items=Any)
