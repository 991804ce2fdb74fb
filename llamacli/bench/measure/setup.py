"""Setups, of which trials measure the speed: the parameters of model and context, and the size of a repetition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llamacli.bench.measure.params import BenchTest
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.hardware import default_threads

Phase = Literal["prompt", "generation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The parameters of model and context that a model runs with."""

    model: ModelParams
    context: ContextParams

    def threads(self, phase: Phase) -> int:
        """Return the number of threads of a phase."""
        context = self.context
        threads = context.threads or default_threads()
        return (context.threads_batch or threads) if phase == "prompt" else threads


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSize:
    """The tokens of a repetition: of a prompt, or generated, after `depth` tokens."""

    n_prompt: int
    n_gen: int
    depth: int = 0

    def tokens(self, phase: Phase) -> int:
        """Return the number of timed tokens."""
        return self.n_prompt if phase == "prompt" else self.n_gen


def model_params(test: BenchTest) -> ModelParams:
    """Return the parameters of the test's model. Tests of one file with equal ones can share it."""
    return ModelParams(
        gpu_layers=None if test.n_gpu_layers < 0 else test.n_gpu_layers,
        split_mode=test.split_mode,
        main_gpu=test.main_gpu,
        tensor_split=test.tensor_split,
        devices=test.devices,
        load_mode=test.load_mode,
        repack=test.repack,
        no_host=test.no_host,
        kernels=test.kernels,
        rpc=test.rpc,
        mmproj=test.mmproj or None,
    )


def context_params(test: BenchTest) -> ContextParams:
    """Return the parameters of the test's context, which holds just its tokens, as in llama-bench."""
    return ContextParams(
        n_ctx=test.n_prompt + test.n_gen + test.n_depth,
        n_batch=test.n_batch,
        n_ubatch=test.n_ubatch,
        n_seq_max=test.n_parallel,
        threads=test.n_threads,
        flash_attention=test.flash_attn,
        cache_type_k=test.type_k,
        cache_type_v=test.type_v,
        kv_offload=not test.no_kv_offload,
        op_offload=not test.no_op_offload,
        embeddings=test.embeddings,
    )
