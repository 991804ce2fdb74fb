"""`Llama`: a model as an object, with the calls that people know from llama-cpp-python."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llamacli.api import values
from llamacli.api.arguments import token_ids
from llamacli.api.evaluation import Evaluations
from llamacli.api.wording import argument_names, naming_arguments
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
        UsageError: values that make no sense.
        TemplateError: there is no such `chat_format`, or it does not parse.
        ModelError: the file is missing, damaged, foreign or unsupported.
        MemoryFullError: it does not fit; on a GPU the message says how many layers were tried.
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
        SamplingParams(seed=seed)  # what is wrong is told before loading
        self._embeds, self._pooling = embedding, values.pooling(pooling_type)
        if chat_format is not None:
            ChatTemplate(chat_format).close()
        self.model_path = str(model_path)
        self._vectors: Embedder | None = None
        engine = Engine(path, model, context, on_load=on_load)
        try:
            super().__init__(engine, context, name=self.model_path, chat_format=chat_format, seed=seed, logits_all=logits_all)
        except BaseException:
            engine.close()
            raise

    # --- tokens ---------------------------------------------------------------------------------------------------------

    def tokenize(self, text: bytes | str, add_bos: bool = True, special: bool = False) -> list[int]:
        """The token ids of a text. `special` lets control tokens in it become tokens.

        >>> llm.detokenize(llm.tokenize(b"Hello, world", add_bos=False))
        b'Hello, world'
        """
        return self.engine.model.vocabulary.tokenize(text, special=special, add_special=add_bos)

    def detokenize(self, tokens: Sequence[int], special: bool = False) -> bytes:
        """The bytes of tokens. Raises UsageError for ids outside the vocabulary."""
        return self.engine.model.vocabulary.detokenize(token_ids(tokens, "tokens"), special=special)

    def token_to_piece(self, token: int, special: bool = False) -> bytes:
        """The bytes of one token."""
        vocabulary = self.engine.model.vocabulary
        return vocabulary.special_piece(token) if special else vocabulary.piece(token)

    def token_bos(self) -> int:
        """The token that begins a text, or -1."""
        return self.engine.model.vocabulary.bos

    def token_eos(self) -> int:
        """The token that ends a text, or -1."""
        return self.engine.model.vocabulary.eos

    def token_nl(self) -> int:
        """The token of a line break, or -1."""
        return self.engine.model.vocabulary.newline

    # --- the model ------------------------------------------------------------------------------------------------------

    def n_ctx(self) -> int:
        """Tokens of context of one call."""
        return self.engine.n_ctx

    def n_vocab(self) -> int:
        """How many tokens the vocabulary has."""
        return self.engine.model.vocabulary.size

    def n_embd(self) -> int:
        """The width of the model's embeddings."""
        return self.engine.model.n_embd

    @property
    def metadata(self) -> dict[str, str]:
        """The scalars of the file's metadata, as text.

        >>> llm.metadata["general.architecture"]
        'llama'
        """
        return self.engine.model.all_metadata()

    # --- vectors --------------------------------------------------------------------------------------------------------

    def create_embedding(self, input: str | Sequence[str], model: str | None = None) -> Document:  # noqa: A002
        """The vectors of one text or of several, in OpenAI's form, of length 1 each.

        The object must have been made with `embedding=True`; `pooling_type` is the model's own unless given. With "none", each
        `embedding` is a list of vectors, one a token.

        Raises:
            UsageError: it was not; or something among the texts is none.
            ContextFullError: a text that is longer than the model allows.
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
        """The vector of a text, or a list of the vectors of several; with pooling "none" a list of vectors for each."""
        vectors = [row["embedding"] for row in self.create_embedding(input)["data"]]
        return vectors[0] if isinstance(input, str) else vectors

    def _embedder(self) -> Embedder:
        if not self._embeds:
            raise UsageError("this Llama makes no vectors", hint="make it with embedding=True")
        with self._lock:
            if self._closed:
                raise ClosedError("this Llama is closed")
            if self._vectors is None:
                from llamacli.engine.embedding.embedder import Embedder  # and numpy, which only vectors need

                params = dataclasses.replace(self._context_params, n_ctx=None, n_seq_max=1, pooling=self._pooling)
                self._vectors = Embedder(Path(self.model_path), self.engine.model.params, params)
                self._owned.callback(self._vectors.close)
                self._owned.callback(self._vectors.cancel)  # before that
            return self._vectors

    # --- the end --------------------------------------------------------------------------------------------------------

    def set_cache(self, capacity_bytes: int | None = 2 << 30) -> None:
        """Keeps evaluated prompts in memory, so that one that comes back later is not evaluated again; None or 0 keeps none.

        What the last `n_parallel` calls evaluated is reused anyway; this is for more prompts that take turns.

        >>> llm.set_cache(64 << 20)
        """
        self.engine.keep_prefixes(capacity_bytes or 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _texts(given: Any) -> list[str]:
    """The texts of `create_embedding`."""
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
    """The context of each call; without a wish, the default or what the model was trained with, if that is less."""
    if wanted is not None:
        return wanted
    from llamacli import gguf

    header = gguf.check_loadable(path)
    trained = header.integer(f"{header.architecture}.context_length")
    return min(DEFAULT_CONTEXT, trained or DEFAULT_CONTEXT)
