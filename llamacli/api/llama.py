"""`Llama`: a model as an object, with the calls that people know from llama-cpp-python."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llamacli.api.arguments.names import naming_arguments
from llamacli.api.calls.attributes import Attributes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from llamacli.api.chat.handlers import LlamaChatCompletionHandler
    from llamacli.api.speculative import LlamaDraftModel
    from llamacli.api.state.cache import BaseLlamaCache
    from llamacli.api.tokenizer import BaseLlamaTokenizer
    from llamacli.engine.embedding.params import Attention
    from llamacli.engine.params import CacheType, FlashAttention, Override, Pooling, RopeScaling, SplitMode


class Llama(Attributes):
    """A model that completes, chats, tokenizes and embeds. Thread-safe; a context manager; `close()` frees everything.

    `model_path` is a file, or what `-m` takes: `hf:user/repo`, an alias, `demo`. Calls from many threads run side by side on
    `n_parallel` sequences of one batch, and more wait their turn. `n_ctx` is the context of each of them in tokens (0: what
    the model was trained with). `n_gpu_layers`: None offloads what fits, -1 all; `device` is the only one to use, "cpu" none.
    `chat_format` is one of llama-cpp-python's names or of llama.cpp's (chatml, llama-2, ...), or Jinja text; by default the
    model's own template. `chat_handler` answers in place of `create_chat_completion`, or brings a projector (see
    `llama_chat_format`). `mmproj` is the file of the projector with which the model takes images or sound, as parts of messages
    in OpenAI's form; an image takes at most `image_max_tokens`. `logits_all` keeps the logits of every
    token given to `eval`. `low_vram` keeps the KV cache in host memory, as `offload_kqv=False` does. `use_mmap`: True maps the
    file, which other processes then share; False reads it; None reads it into huge pages if it is at most 1 GiB, a quarter of
    the free memory and on the CPU (a few percent faster), and maps it otherwise. `kv_overrides` replaces scalars of the file's
    metadata. `draft_model` guesses tokens, several of which are then evaluated at once: an object does it for `generate`, a
    smaller model with the same vocabulary (given as `model_path` is) for all answers. `tokenizer` tokenizes texts in place of
    the model's own. `spm_infill` puts the suffix first in prompts for infill. `last_n_tokens_size` is the default of
    `repeat_last_n`. Enumerations are names, or llama.cpp's numbers. A `seed` that is negative or LLAMA_DEFAULT_SEED is drawn;
    otherwise each call without a seed of its own draws the next one from it. `verbose` logs to stderr. `isolated` puts the
    model into a process of its own, so that a fault in native code is an EngineDiedError (see `IsolatedLlama`). `url` lets a
    server answer in place of a model here, and `key` and `insecure` belong to it (see `RemoteLlama`).

    >>> llm = Llama(MODEL, n_ctx=256)
    >>> llm.n_ctx()
    256
    >>> llm.close()

    Raises (when built):
        UsageError: if an argument is invalid.
        TemplateError: if `chat_format` is unknown, or does not parse.
        ModelError: if the file is missing, corrupt, foreign or unsupported.
        MemoryFullError: if the model does not fit; on a GPU the message has the layers that were tried.
        LibraryError: in a process forked from one that had loaded a model.
    """

    def __new__(cls, *_: Any, isolated: bool = False, url: str | Sequence[str] | None = None, **__: Any) -> Self:
        """Return an `IsolatedLlama` if `isolated` is set, a `RemoteLlama` if `url` is."""
        if cls is not Llama or not (isolated or url is not None):
            return object.__new__(cls)
        # The subclasses build on this module, which can only look them up.
        place, name = ("remote", "RemoteLlama") if url is not None else ("isolated.llama", "IsolatedLlama")
        subclass: type[Self] = getattr(importlib.import_module(f"llamacli.api.{place}"), name)
        return object.__new__(subclass)

    @naming_arguments
    def __init__(
        self,
        model_path: str | PathLike[str] | None = None,
        *,
        url: str | Sequence[str] | None = None,
        key: str | None = None,
        insecure: bool = False,
        n_ctx: int | None = None,
        n_batch: int = 2048,
        n_ubatch: int = 512,
        n_parallel: int = 4,
        n_threads: int | None = None,
        n_threads_batch: int | None = None,
        n_gpu_layers: int | None = None,
        device: str | None = None,
        split_mode: SplitMode | int = "layer",
        main_gpu: int = 0,
        tensor_split: Sequence[float] | None = None,
        vocab_only: bool = False,
        use_mmap: bool | None = None,
        use_mlock: bool = False,
        kv_overrides: Mapping[str, Override] | None = None,
        offload_kqv: bool = True,
        low_vram: bool = False,
        flash_attn: bool | int | FlashAttention | None = "auto",
        op_offload: bool | None = None,
        swa_full: bool | None = None,
        type_k: CacheType | int | None = None,
        type_v: CacheType | int | None = None,
        rope_scaling_type: RopeScaling | int | None = None,
        rope_freq_base: float = 0.0,
        rope_freq_scale: float = 0.0,
        yarn_ext_factor: float = -1.0,
        yarn_attn_factor: float = -1.0,
        yarn_beta_fast: float = -1.0,
        yarn_beta_slow: float = -1.0,
        yarn_orig_ctx: int = 0,
        embedding: bool = False,
        pooling_type: Pooling | int | None = None,
        attention_type: Attention | int | None = None,
        no_perf: bool = True,
        last_n_tokens_size: int = 64,
        chat_format: str | None = None,
        chat_handler: LlamaChatCompletionHandler | None = None,
        mmproj: str | PathLike[str] | None = None,
        image_max_tokens: int | None = None,
        draft_model: LlamaDraftModel | str | PathLike[str] | None = None,
        tokenizer: BaseLlamaTokenizer | None = None,
        spm_infill: bool = False,
        lora_base: str | None = None,
        lora_path: str | PathLike[str] | None = None,
        lora_scale: float = 1.0,
        numa: bool | int = False,
        seed: int | None = None,
        logits_all: bool = False,
        n_parts: int | None = None,
        f16_kv: bool | None = None,
        verbose: bool = False,
        isolated: bool = False,
        on_load: Callable[[float], None] | None = None,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        from llamacli.api.arguments import values
        from llamacli.api.arguments.options import warn_obsolete
        from llamacli.api.arguments.params import context_params, draft_path, model_params
        from llamacli.api.chat.handlers import check_format
        from llamacli.api.chat.projectors import ProjectorHandler, projector_arguments
        from llamacli.api.loading import find_model, set_verbose
        from llamacli.binding.library import require_own_library
        from llamacli.engine.engine import Engine
        from llamacli.engine.params import SamplingParams

        require_own_library()
        set_verbose(verbose)
        for name, given in (("n_parts", n_parts), ("f16_kv", f16_kv), ("lora_base", lora_base)):
            if given is not None:
                warn_obsolete(name, "current files and builds have no use for it")
        path, seed = find_model(model_path), values.seed(seed)
        projector = projector_arguments(chat_handler, mmproj, image_max_tokens)
        chat_handler = None if isinstance(chat_handler, ProjectorHandler) else chat_handler
        drafter, draft = draft_path(draft_model)
        arguments = {**self._arguments, **projector, "draft_model": draft}
        context, model = context_params(path, arguments), model_params(arguments)
        repeat_last_n = values.whole("last_n_tokens_size", last_n_tokens_size)
        SamplingParams(seed=seed, repeat_last_n=repeat_last_n)  # check them before loading
        self._embeds, self._pooling, self._attention = embedding, values.pooling(pooling_type), values.attention(attention_type)
        if chat_format is not None and chat_handler is None:
            check_format(chat_format)
        self.chat_format, self.chat_handler = chat_format, chat_handler
        self.model_path, self.verbose = str(model_path), verbose
        self.cache: BaseLlamaCache | None = None
        engine = Engine(path, model, context, on_load=on_load)
        try:
            super().__init__(
                engine,
                context,
                name=self.model_path,
                seed=seed,
                repeat_last_n=repeat_last_n,
                logits_all=logits_all,
                draft_model=drafter,
                tokenizer=tokenizer,
                spm_infill=spm_infill,
            )
        except BaseException:
            engine.close()
            raise

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: str | None = None,
        additional_files: Sequence[str] | None = None,
        local_dir: str | PathLike[str] | None = None,
        local_dir_use_symlinks: bool | str | None = None,
        cache_dir: str | PathLike[str] | None = None,
        **arguments: Any,
    ) -> Self:
        """Load a model of the Hugging Face hub, downloaded once into its shared cache, or into that of `cache_dir`.

        `filename` is a file of the repository, or a pattern such as `*Q4_K_M.gguf`; the parts of a split file come together.
        None chooses a quantization that fits this machine. With `local_dir` the files are also there, under their names in the
        repository: as hard links, or as copies where those are impossible. `local_dir_use_symlinks` has no effect.

        Raises:
            ModelNotFoundError: if there is no such repository or file, or several files match.
            DownloadError: if it cannot be fetched.
            UsageError: if the name of the repository or file is invalid.
        """
        from llamacli.api.hub_files import find_hub_file

        path = find_hub_file(repo_id, filename, additional_files or (), local_dir=local_dir, cache_dir=cache_dir)
        return cls(path, **arguments)

    # --- settings -------------------------------------------------------------------------------------------------------

    def set_seed(self, seed: int | None) -> None:
        """Set the seed from which later calls without a seed of their own draw theirs."""
        from llamacli.api.arguments import values

        self._seed = values.seed(seed)

    def set_cache(self, cache: BaseLlamaCache | int | None = 2 << 30) -> None:
        """Keep evaluated prompts and answers in a cache, so that a prompt that returns is not evaluated again.

        A number is the capacity of a cache in memory, in bytes; None or 0 keeps none. The prompts of the last `n_parallel`
        calls are reused anyway.

        >>> llm.set_cache(64 << 20)
        """
        from llamacli.api.state.cache import BaseLlamaCache, SharedPrefixes

        self.cache = cache if isinstance(cache, BaseLlamaCache) else None
        if isinstance(cache, BaseLlamaCache):
            self.engine.contexts.use_prefixes(lambda context: SharedPrefixes(cache, context))
        else:
            self.engine.keep_prefixes(cache or 0)

    # --- functions ------------------------------------------------------------------------------------------------------

    @staticmethod
    def logits_to_logprobs(logits: Any, axis: int = -1) -> npt.NDArray[np.single]:
        """Return natural-log probabilities.

        >>> bool(abs(Llama.logits_to_logprobs([0.0, 0.0])[0] + 0.6931) < 1e-4)
        True
        """
        import numpy as np

        shifted = np.asarray(logits, dtype=np.single)
        most = shifted.max(axis=axis, keepdims=True)
        shifted = shifted - np.where(np.isfinite(most), most, 0)
        with np.errstate(divide="ignore"):
            found: npt.NDArray[np.single] = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
        return found

    @staticmethod
    def longest_token_prefix(a: Sequence[int], b: Sequence[int]) -> int:
        """Return the number of tokens with which both begin.

        >>> Llama.longest_token_prefix([1, 2, 3], [1, 2, 4])
        2
        """
        return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))

    def create_chat_completion_openai_v1(self, *args: Any, **keywords: Any) -> Any:
        """Return `create_chat_completion` as objects of the `openai` package.

        Raises:
            ImportError: if it is not installed.
        """
        try:
            from openai.types.chat import ChatCompletion, ChatCompletionChunk
        except ImportError as error:
            raise ImportError("create_chat_completion_openai_v1 needs openai: pip install openai") from error
        made = self.create_chat_completion(*args, **keywords)
        return ChatCompletion(**made) if isinstance(made, dict) else (ChatCompletionChunk(**chunk) for chunk in made)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as the arguments: the model is loaded again."""
        return _loaded_again, (type(self), self._arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _loaded_again(kind: type[Llama], arguments: Mapping[str, Any]) -> Llama:
    return kind(**arguments)
