"""The context of the model, and the parameters of its speed."""

from typing import Annotated, Any, ClassVar

from llamacli.cli.framework.parameters import option
from llamacli.cli.framework.parsers import parse_threads
from llamacli.engine.params import CacheType, ContextParams, FlashAttention, RopeScaling
from llamacli.values import dataclass

_CONTEXT = ContextParams()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """The context of the model, and the parameters of its speed."""

    PANEL: ClassVar[str] = "Context and speed"
    LOADS: ClassVar[bool] = True

    ctx_size: Annotated[
        int | None,
        option(
            "-c", "--ctx-size", shows="4096, or more if the prompt needs it", sets="n_ctx",
            help="Context size in tokens, for the prompt and the answer; 0 is the size that the model was trained with.",
        ),
    ] = _CONTEXT.n_ctx  # fmt: skip
    threads: Annotated[
        int | None,
        option(
            "-t", "--threads", parser=parse_threads, metavar="N", shows="what is fastest, up to the physical cores",
            help="Number of CPU threads for generation.",
        ),
    ] = _CONTEXT.threads  # fmt: skip
    threads_batch: Annotated[
        int | None,
        option(
            "-tb", "--threads-batch", parser=parse_threads, metavar="N", shows="as -t",
            help="Number of CPU threads for reading the prompt.",
        ),
    ] = _CONTEXT.threads_batch  # fmt: skip
    batch_size: Annotated[
        int | None,
        option("-b", "--batch-size", shows=_CONTEXT.n_batch, sets="n_batch", help="Logical batch size in tokens."),
    ] = None
    ubatch_size: Annotated[
        int | None,
        option("-ub", "--ubatch-size", shows=_CONTEXT.n_ubatch, sets="n_ubatch", help="Physical batch size in tokens."),
    ] = None
    flash_attn: Annotated[FlashAttention, option("-fa", "--flash-attn", sets="flash_attention", help="Flash attention.")] = (
        _CONTEXT.flash_attention
    )
    cache_type_k: Annotated[
        CacheType, option("-ctk", "--cache-type-k", metavar="TYPE", help="KV cache data type for keys: f16, q8_0, q4_0, ...")
    ] = _CONTEXT.cache_type_k
    cache_type_v: Annotated[
        CacheType, option("-ctv", "--cache-type-v", metavar="TYPE", help="KV cache data type for values.")
    ] = _CONTEXT.cache_type_v
    kv_offload: Annotated[bool, option("--kv-offload/--no-kv-offload", help="Keep the KV cache on the GPU.")] = (
        _CONTEXT.kv_offload
    )
    op_offload: Annotated[
        bool, option("--op-offload/--no-op-offload", help="Let a GPU compute for layers that are not on it.")
    ] = _CONTEXT.op_offload
    swa_full: Annotated[bool, option("--swa-full", help="Keep the full KV cache of sliding-window layers.")] = _CONTEXT.swa_full
    rope_scaling: Annotated[RopeScaling | None, option("--rope-scaling", shows="the model's", help="RoPE scaling method.")] = (
        _CONTEXT.rope_scaling
    )
    rope_freq_base: Annotated[float, option("--rope-freq-base", shows="the model's", help="RoPE base frequency.")] = (
        _CONTEXT.rope_freq_base
    )
    rope_freq_scale: Annotated[
        float, option("--rope-freq-scale", shows="the model's", help="RoPE frequency scaling factor.")
    ] = _CONTEXT.rope_freq_scale
    yarn_orig_ctx: Annotated[
        int, option("--yarn-orig-ctx", shows="the model's", help="Context size that the model was trained with, for YaRN.")
    ] = _CONTEXT.yarn_orig_ctx

    def params(self, **other: Any) -> ContextParams:
        """The engine's parameters; `other` are fields of ContextParams that no option sets."""
        return ContextParams(
            n_ctx=self.ctx_size,
            n_batch=_CONTEXT.n_batch if self.batch_size is None else self.batch_size,
            n_ubatch=_CONTEXT.n_ubatch if self.ubatch_size is None else self.ubatch_size,
            threads=self.threads,
            threads_batch=self.threads_batch,
            flash_attention=self.flash_attn,
            cache_type_k=self.cache_type_k,
            cache_type_v=self.cache_type_v,
            kv_offload=self.kv_offload,
            op_offload=self.op_offload,
            swa_full=self.swa_full,
            rope_scaling=self.rope_scaling,
            rope_freq_base=self.rope_freq_base,
            rope_freq_scale=self.rope_freq_scale,
            yarn_orig_ctx=self.yarn_orig_ctx,
            **other,
        )
