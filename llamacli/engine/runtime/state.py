"""Saved states of sequences: from a context and back into one.

llama.cpp silently accepts some altered states and aborts on others. So a state reaches it only if the checksum of its file is
right (`state_file`) and the fingerprint matches model, build and cache types.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from llamacli.binding.library import library
from llamacli.engine.media.placeholders import without_placeholders
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.state_file import State
from llamacli.errors import ContextFullError, StateError

_SAMPLES = 64


def fingerprint(context: Context) -> str:
    """Return a digest of what a state and a context must share: model, build, cache types, RoPE settings."""
    model = context.model
    adapters = [(lora.scale, model_digest(Path(lora.path))) for lora in model.params.loras]
    parts = [
        library().build["commit"], model_digest(model.path), adapters, *cache_parts(context.params), context.is_invariant,
        *override_parts(model, context.params),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def cache_parts(params: ContextParams) -> list[object]:
    """Return the parameters that change what is in the cache, or its form."""
    return [
        params.cache_type_k, params.cache_type_v, params.flash_attention, params.rope_scaling, params.rope_freq_base,
        params.rope_freq_scale, params.yarn_orig_ctx, params.swa_full,
    ]  # fmt: skip


def override_parts(model: Model, params: ContextParams) -> list[object]:
    """Return the numbers of the model that the parameters replace, none if there are none."""
    yarn = [params.yarn_ext_factor, params.yarn_attn_factor, params.yarn_beta_fast, params.yarn_beta_slow]
    return [yarn, model.params.overrides] if any(factor >= 0 for factor in yarn) or model.params.overrides else []


def model_digest(path: Path) -> str:
    """Return a digest of a model file's size and 64 samples of 4 KiB, both ends included."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for i in range(_SAMPLES):
            file.seek((size - 4096) * i // (_SAMPLES - 1) if size > 4096 else 0)
            digest.update(file.read(4096))
    return digest.hexdigest()


def capture(context: Context, sequence: int, tokens: list[int]) -> State:
    """Return the state of one sequence, whose cache holds `tokens`."""
    return State(fingerprint(context), tuple(tokens), context.save_sequence(sequence))


def restore(context: Context, sequence: int, state: State) -> None:
    """Restore a state into a sequence of the cache.

    Raises:
        StateError: if it belongs to another model, build or context.
        ContextFullError: if it has more tokens than the context holds.
    """
    if state.fingerprint != fingerprint(context):
        raise StateError("the saved state belongs to another model, build or cache type")
    if len(state.tokens) > context.n_ctx:
        raise ContextFullError(
            f"the saved state has {len(state.tokens)} tokens, the context holds {context.n_ctx}",
            needed=len(state.tokens),
            available=context.n_ctx,
            hint=f"use n_ctx={len(state.tokens) + 256} or more",
            parameter="n_ctx",
        )
    context.model.vocabulary.check_ids(without_placeholders(state.tokens))
    context.forget(sequence)
    context.restore_sequence(sequence, state.payload)
