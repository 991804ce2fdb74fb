"""Properties of a `Llama`: its model and its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llamacli.api.calls.vectors import Vectors

if TYPE_CHECKING:
    from llamacli.api.handles import LlamaContext
    from llamacli.api.tokenizer import BaseLlamaTokenizer
    from llamacli.engine.params import Override


class Attributes(Vectors):
    """The model and the settings, under llama-cpp-python's names. A base of `Llama`."""

    @property
    def ctx(self) -> LlamaContext:
        """The context of `eval` for C functions, until `close()`.

        >>> from llamacli import llama_cpp
        >>> llama_cpp.llama_n_ctx_seq(llm.ctx) >= llm.n_ctx()
        True
        """
        from llamacli.api.handles import LlamaContext

        return LlamaContext(lambda: self.manual().context())

    @property
    def context_params(self) -> Any:
        """The parameters of the context: llama.cpp's structure `llama_context_params`."""
        from dataclasses import replace

        from llamacli.engine.runtime.context_params import native_params

        params = replace(self._context_params, n_seq_max=1)
        return native_params(params, self.engine.n_ctx, self.engine.model.params.kernels)

    @property
    def model_params(self) -> Any:
        """The parameters of the model: llama.cpp's structure `llama_model_params`."""
        return self.engine.model.native_params()

    def n_ctx(self) -> int:
        """Return the context size of one call in tokens."""
        return self.engine.n_ctx

    def n_embd(self) -> int:
        """Return the dimension of the model's embeddings."""
        return self.engine.model.n_embd

    def pooling_type(self) -> int:
        """Return the pooling of embeddings: LLAMA_POOLING_TYPE_*, of the model unless it was given; -1 if it has none."""
        from llamacli.api.arguments import values
        from llamacli.engine.embedding.defaults import stated_pooling

        return values.pooling_number(self._pooling or stated_pooling(self.engine.model.header))

    @property
    def metadata(self) -> dict[str, str]:
        """Scalars of the file's metadata, as text.

        >>> llm.metadata["general.architecture"]
        'llama'
        """
        return self.engine.model.all_metadata()

    # --- settings, as they are in effect --------------------------------------------------------------------------------

    @property
    def n_batch(self) -> int:
        """The most tokens of a batch.

        >>> llm.n_batch == llm.n_ctx()
        True
        """
        return min(self._context_params.n_batch, self.engine.n_ctx)

    @property
    def n_parallel(self) -> int:
        """The number of calls that run side by side."""
        return self.engine.n_parallel

    @property
    def n_threads(self) -> int:
        """The number of threads that evaluate single tokens."""
        threads: int = self.context_params.n_threads
        return threads

    @property
    def n_threads_batch(self) -> int:
        """The number of threads that evaluate prompts."""
        threads: int = self.context_params.n_threads_batch
        return threads

    @property
    def last_n_tokens_size(self) -> int:
        """The number of last tokens that a repeat penalty looks at, unless a call says otherwise."""
        return self._defaults.repeat_last_n

    @property
    def tokenizer_(self) -> BaseLlamaTokenizer:
        """The tokenizer of texts: the given one, or the model's."""
        return self._tokenizer if self._tokenizer is not None else self.tokenizer()

    @property
    def kv_overrides(self) -> dict[str, Override]:
        """Replacements of the file's metadata."""
        return dict(self.engine.model.params.overrides)

    @property
    def tensor_split(self) -> list[float]:
        """The share of each GPU; empty if llama.cpp chooses them."""
        return list(self.engine.model.params.tensor_split)

    @property
    def numa(self) -> int:
        """The strategy for machines with several memories: GGML_NUMA_STRATEGY_*."""
        return self.engine.model.params.numa

    @property
    def lora_path(self) -> str | None:
        """The file of the adapter, or None."""
        return next((lora.path for lora in self.engine.model.params.loras), None)

    @property
    def lora_scale(self) -> float:
        """The strength of the adapter; 1 without one."""
        return next((lora.scale for lora in self.engine.model.params.loras), 1.0)
