"""`Llama`: a model as an object, with the calls that people know from llama-cpp-python."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llamacli.api import values
from llamacli.api.argument_names import argument_names, naming_arguments
from llamacli.api.arguments import token_ids
from llamacli.api.evaluation import Evaluations
from llamacli.api.handles import LlamaContext, LlamaModel
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.engine import Engine
from llamacli.engine.params import (
    CacheType,
    ContextParams,
    FlashAttention,
    LoraAdapter,
    ModelParams,
    Pooling,
    SamplingParams,
    SplitMode,
)
from llamacli.errors import CancelledError, ClosedError, UsageError
from llamacli.openai.response import Document

if TYPE_CHECKING:
    from llamacli.engine.embedding.embedder import Embedder

DEFAULT_CONTEXT = 2048
"""Tokens of context of each call, unless n_ctx says otherwise: the cache is taken at once, for all parallel calls."""


class Llama(Evaluations):
    """A model that completes, chats, tokenizes and embeds. Thread-safe; a context manager; `close()` frees everything.

    Calls from many threads run side by side on `n_parallel` sequences of one batch, and more wait their turn. `n_ctx` is the
    context of each of them in tokens (0: what the model was trained with). `n_gpu_layers`: None offloads what fits, -1 all.
    `chat_format` names one of llama.cpp's templates (chatml, llama2, ...) or is Jinja text; by default the model's own.
    `logits_all` keeps the logits of every token given to `eval`. `low_vram` is accepted for those who come from older
    programs: it keeps the KV cache in host memory, as `offload_kqv=False` does. `use_mmap`: True maps the file, which other
    processes then share; False reads it; None reads it into huge pages if it is at most 1 GiB, a quarter of the free memory and
    on the CPU (a few percent faster), and maps it otherwise. `split_mode`, `type_k`, `type_v`, `pooling_type` and
    `flash_attn` are names, or the numbers of llama.cpp's and ggml's enumerations. A `seed` that is negative or
    LLAMA_DEFAULT_SEED is drawn.

    >>> llm = Llama(MODEL, n_ctx=256)
    >>> llm.n_ctx()
    256
    >>> llm.close()

    Raises (when built):
        UsageError: if an argument is invalid.
        TemplateError: if `chat_format` is unknown, or does not parse.
        ModelError: if the file is missing, corrupt, foreign or unsupported.
        MemoryFullError: if the model does not fit; on a GPU the message has the layers that were tried.
    """

    create_completion = __call__ = naming_arguments(Evaluations.create_completion)
    create_chat_completion = naming_arguments(Evaluations.create_chat_completion)

    @naming_arguments
    def __init__(
        self,
        model_path: str | Path,
        *,
        n_ctx: int | None = None,
        n_batch: int = 2048,
        n_ubatch: int = 512,
        n_parallel: int = 4,
        n_threads: int | None = None,
        n_threads_batch: int | None = None,
        n_gpu_layers: int | None = None,
        split_mode: SplitMode | int = "layer",
        main_gpu: int = 0,
        tensor_split: Sequence[float] | None = None,
        use_mmap: bool | None = None,
        use_mlock: bool = False,
        offload_kqv: bool = True,
        low_vram: bool = False,
        flash_attn: bool | int | FlashAttention | None = "auto",
        type_k: CacheType | int | None = None,
        type_v: CacheType | int | None = None,
        rope_freq_base: float = 0.0,
        rope_freq_scale: float = 0.0,
        embedding: bool = False,
        pooling_type: Pooling | int | None = None,
        chat_format: str | None = None,
        lora_path: str | Path | None = None,
        lora_scale: float = 1.0,
        seed: int | None = None,
        logits_all: bool = False,
        verbose: bool = False,
        on_load: Callable[[float], None] | None = None,
    ) -> None:
        if verbose:
            logging.basicConfig()
            logging.getLogger("llamacli").setLevel(logging.INFO)
        path, seed = Path(model_path), values.seed(seed)
        context = ContextParams(
            n_ctx=_context_size(path, values.whole_or_none("n_ctx", n_ctx)),
            n_batch=values.whole("n_batch", n_batch),
            n_ubatch=min(values.whole("n_ubatch", n_ubatch), n_batch),
            n_seq_max=values.whole("n_parallel", n_parallel),
            threads=values.whole_or_none("n_threads", n_threads),
            threads_batch=values.whole_or_none("n_threads_batch", n_threads_batch),
            flash_attention=values.flash_attention(flash_attn),
            cache_type_k=values.cache_type("type_k", type_k),
            cache_type_v=values.cache_type("type_v", type_v),
            kv_offload=offload_kqv and not low_vram,
            rope_freq_base=rope_freq_base,
            rope_freq_scale=rope_freq_scale,
        )
        model = ModelParams(
            gpu_layers=values.whole_or_none("n_gpu_layers", n_gpu_layers),
            split_mode=values.split_mode(split_mode),
            main_gpu=values.whole("main_gpu", main_gpu),
            tensor_split=tuple(tensor_split or ()),
            mmap=use_mmap is not False,
            huge_pages=use_mmap is None,
            mlock=use_mlock,
            loras=(LoraAdapter(path=str(lora_path), scale=lora_scale),) if lora_path is not None else (),
        )
        SamplingParams(seed=seed)  # check it before loading
        self._embeds, self._pooling = embedding, values.pooling(pooling_type)
        if chat_format is not None:
            ChatTemplate(chat_format).close()
        self.model_path = str(model_path)
        engine = Engine(path, model, context, on_load=on_load)
        try:
            super().__init__(engine, context, name=self.model_path, chat_format=chat_format, seed=seed, logits_all=logits_all)
        except BaseException:
            engine.close()
            raise

    # --- tokens ---------------------------------------------------------------------------------------------------------

    def tokenize(self, text: bytes | str, add_bos: bool = True, special: bool = False) -> list[int]:
        """Return the token ids of a text. `special` recognizes control tokens in it.

        >>> llm.detokenize(llm.tokenize(b"Hello, world", add_bos=False))
        b'Hello, world'
        """
        return self.engine.model.vocabulary.tokenize(text, special=special, add_special=add_bos)

    def detokenize(self, tokens: Sequence[int], special: bool = False) -> bytes:
        """Return the bytes of tokens. Raises UsageError for ids outside the vocabulary."""
        return self.engine.model.vocabulary.detokenize(token_ids(tokens, "tokens"), special=special)

    def token_to_piece(self, token: int, special: bool = False) -> bytes:
        """Return the bytes of one token."""
        vocabulary = self.engine.model.vocabulary
        return vocabulary.special_piece(token) if special else vocabulary.piece(token)

    def token_bos(self) -> int:
        """Return the BOS token, or -1."""
        return self.engine.model.vocabulary.bos

    def token_eos(self) -> int:
        """Return the EOS token, or -1."""
        return self.engine.model.vocabulary.eos

    def token_nl(self) -> int:
        """Return the newline token, or -1."""
        return self.engine.model.vocabulary.newline

    # --- the model ------------------------------------------------------------------------------------------------------

    @property
    def model(self) -> LlamaModel:
        """The model for C functions (see `llamacli.llama_cpp`), until `close()`.

        >>> from llamacli import llama_cpp
        >>> llama_cpp.llama_n_vocab(llm.model) == llm.n_vocab()
        True
        """
        return LlamaModel(lambda: self.engine.model)

    @property
    def ctx(self) -> LlamaContext:
        """The context of `eval` for C functions, until `close()`.

        >>> from llamacli import llama_cpp
        >>> llama_cpp.llama_n_ctx_seq(llm.ctx) >= llm.n_ctx()
        True
        """
        return LlamaContext(lambda: self.manual().context())

    def n_ctx(self) -> int:
        """Return the context size of one call in tokens."""
        return self.engine.n_ctx

    def n_vocab(self) -> int:
        """Return the number of tokens in the vocabulary."""
        return self.engine.model.vocabulary.size

    def n_embd(self) -> int:
        """Return the dimension of the model's embeddings."""
        return self.engine.model.n_embd

    @property
    def metadata(self) -> dict[str, str]:
        """Scalars of the file's metadata, as text.

        >>> llm.metadata["general.architecture"]
        'llama'
        """
        return self.engine.model.all_metadata()

    # --- vectors --------------------------------------------------------------------------------------------------------

    def create_embedding(self, input: str | Sequence[str], model: str | None = None) -> Document:  # noqa: A002
        """Return the vectors of one text or several, in OpenAI's form, each of length 1.

        The object must be made with `embedding=True`; `pooling_type` is the model's own unless given. With "none", each
        `embedding` is a list of vectors, one for each token.

        Raises:
            UsageError: if it was made without `embedding=True`, or an item is not a text.
            ContextFullError: if a text is longer than the model allows.
        """
        with argument_names():
            return self._embedding(_texts(input), model)

    def _embedding(self, texts: list[str], model: str | None) -> Document:
        from llamacli.engine.embedding.outcome import NotEmbedded

        embedder, rows, tokens = self._embedder(), [], 0
        try:
            for outcome in embedder.embed(texts):
                if isinstance(outcome, NotEmbedded):
                    raise outcome.error
                vectors = outcome.vectors.tolist()
                vector = vectors if embedder.pooling == "none" else vectors[0]
                rows.append({"object": "embedding", "index": outcome.index, "embedding": vector})
                tokens += outcome.tokens
        except CancelledError as error:
            if self._closed:
                raise ClosedError("this Llama is closed") from error
            raise
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": model or self.model_path, "data": rows, "usage": usage}

    def embed(self, input: str | Sequence[str]) -> Any:  # noqa: A002
        """Return the vector of a text, or a list of the vectors of several; with pooling "none" a list of vectors for each."""
        vectors = [row["embedding"] for row in self.create_embedding(input)["data"]]
        return vectors[0] if isinstance(input, str) else vectors

    def _embedder(self) -> Embedder:
        if not self._embeds:
            raise UsageError("this Llama was made without embedding=True")
        return self.engine.embedder(self._pooling)

    # --- the end --------------------------------------------------------------------------------------------------------

    def set_cache(self, capacity_bytes: int | None = 2 << 30) -> None:
        """Keep evaluated prompts in memory, so that a prompt that returns is not evaluated again; None or 0 keeps none.

        The prompts of the last `n_parallel` calls are reused anyway; this is for more prompts that alternate.

        >>> llm.set_cache(64 << 20)
        """
        self.engine.keep_prefixes(capacity_bytes or 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _texts(given: Any) -> list[str]:
    """Return the texts of `create_embedding`."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise UsageError(f"input is of type {type(given).__name__}, where a text or a list of texts is needed")
    texts = list(given)
    for place, item in enumerate(texts):
        if not isinstance(item, str):
            raise UsageError(f"input[{place}] is {item!r}, where a text is needed")
    return texts


def _context_size(path: Path, wanted: int | None) -> int:
    """Return the context size of each call: the given one, else the default or the trained size, if that is less."""
    if wanted is not None:
        return wanted
    from llamacli import gguf

    header = gguf.check_loadable(path)
    trained = header.integer(f"{header.architecture}.context_length")
    return min(DEFAULT_CONTEXT, trained or DEFAULT_CONTEXT)
