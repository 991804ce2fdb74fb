"""Which evaluated tokens can be used again so that the same text comes out: by another batch, another run, another program."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

from llamacli.binding.library import library
from llamacli.binding.location import find_folder
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.cache_size import cache_bytes
from llamacli.engine.runtime.context_params import attends_alike, can_be_invariant
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.prompt_identity import Form, PromptIdentity
from llamacli.engine.runtime.state import cache_parts, model_digest, override_parts
from llamacli.gguf.split import part_names

_OF_OUR_KERNELS = frozenset({
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ2_XXS", "IQ2_XS",
    "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "MXFP4",
})  # fmt: skip
"""Types of weights that `find_kernel` in `binding/kernels/product.h` knows."""

_WIDTH = 32
"""Our kernels multiply rows of a multiple of so many weights."""

_STEADY_RECURRENT = frozenset({"mamba", "lfm2"})
"""Architectures whose recurrent layers go from token to token in the same way in every batch; their matrices are the rest."""

_OF_RECURRENCE = (".ssm_conv1d.weight", ".ssm_a", ".ssm_d", ".shortconv.conv.weight")
"""Ends of the names of tensors that are no matrices of a product."""

_LONG_FACTORS = "rope_factors_long.weight"


def identify_prompts(model: Model, params: ContextParams) -> PromptIdentity | None:
    """Return the identity of prompts that are evaluated with these parameters; None if they cannot be kept."""
    form = _form(model, params)
    if form is None or model.has_encoder or not model.can_generate:
        return None
    on_device = bool(library().llama_supports_gpu_offload())
    exact = is_exact(model, params)
    invariant = params.invariant and can_be_invariant(params, model.params.kernels) and not model.is_recurrent
    any_batch = exact or on_device or invariant
    unit = 1 if any_batch else params.n_ubatch
    if not any_batch and (params.n_seq_max > 1 or unit % 128):  # parts of prompts that others cannot have
        return None
    try:
        parts = [*_build(), *_files(model), *cache_parts(params), *override_parts(model, params)]
    except OSError:  # the file was removed after it was loaded
        return None
    parts += [model.params.kernels, model.params.repack, *model.params.rpc]
    if any(one.name == _LONG_FACTORS for one in model.header.tensors):
        parts.append(params.n_ctx)  # chooses the factors
    if not exact:
        threads = params.threads or default_threads()  # llama.cpp divides the keys among them
        parts += [invariant, unit, threads, params.threads_batch or threads]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return PromptIdentity(digest, unit, exact or on_device, any_batch, cache_bytes(model, params), form)


def _form(model: Model, params: ContextParams) -> Form | None:
    """The form of the states; None if it is none that can be taken apart."""
    if library().llama_model_is_recurrent(model.handle):
        return "state"
    if model.is_recurrent:
        return None if model.window else "rows and state"
    return "rows and window" if model.window and not params.swa_full else "rows"


def is_exact(model: Model, params: ContextParams) -> bool:
    """Return whether a token gets the same bits in every batch: alone, in a prompt, and beside other sequences.

    Our kernels promise that for the matrices that they multiply and for attention; llama.cpp's do not, nor do most of its
    recurrent layers, and weights that it has repacked.
    """
    header = model.header
    if header.integer("split.count"):
        return False
    # adapters, too: their rows are often as narrow as their rank
    tensors = (*header.tensors, *model.adapter_tensors)
    matrices = [one for one in tensors if len(one.shape) > 1 and not one.name.endswith(_OF_RECURRENCE)]
    return (
        attends_alike(params, model.params.kernels)
        and params.flash_attention != "off"
        and not params.kv_unified
        and not library().llama_supports_gpu_offload()
        and (not model.is_recurrent or header.architecture in _STEADY_RECURRENT)
        and not model.params.repack
        and bool(matrices)
        and all(one.type.name in _OF_OUR_KERNELS and one.shape[0] % _WIDTH == 0 for one in matrices)
    )


def _build() -> list[object]:
    """What computes: the native libraries of this package, and the machine, as a folder may be shared by several."""
    folder = find_folder()
    files = sorted((one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in folder.iterdir() if one.is_file())
    return [files, platform.node(), str(library().llamacli_kernels_instructions())]


def _files(model: Model) -> list[object]:
    """The files of weights: their content in samples, and when they were last changed."""
    found: list[object] = []
    parts = [model.path.with_name(name) for name in part_names(model.path.name)]
    for path, scale in [*((path, 1.0) for path in parts), *((Path(lora.path), lora.scale) for lora in model.params.loras)]:
        about = path.stat()
        found.append((about.st_size, about.st_mtime_ns, model_digest(path), scale))
    return found
