"""A fingerprint of everything but options that determines a model's vectors."""

from __future__ import annotations

import hashlib
from pathlib import Path

from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.model import Model

SAMPLE_BYTES = 1 << 20


def fingerprint_of(model: Model, context: ContextParams) -> str:
    """Return a hash of the model file's header, samples of its data, its adapters and the RoPE parameters.

    Raises:
        OSError: if a file cannot be read.
    """
    header = model.header
    digest = hashlib.sha256(str(header.size).encode())
    with model.path.open("rb") as file:
        for offset in (0, header.data_offset, (header.data_offset + header.size) // 2, header.size - SAMPLE_BYTES):
            file.seek(max(0, offset))
            digest.update(file.read(SAMPLE_BYTES))
    for lora in model.params.loras:
        digest.update(str(lora.scale).encode() + Path(lora.path).read_bytes())
    if model.params.overrides:
        digest.update(str(model.params.overrides).encode())
    if (rope := _rope_params(context)) != _rope_params(ContextParams()):
        digest.update(str(rope).encode())
    return digest.hexdigest()


def _rope_params(params: ContextParams) -> tuple[str | float | None, ...]:
    rope = (params.rope_scaling, params.rope_freq_base, params.rope_freq_scale, params.yarn_orig_ctx)
    yarn = (params.yarn_ext_factor, params.yarn_attn_factor, params.yarn_beta_fast, params.yarn_beta_slow)
    return rope if all(factor < 0 for factor in yarn) else (*rope, *yarn)
