"""A loaded model file."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llamacli.binding import log
from llamacli.binding.arrays import char_buffer, int32, reference
from llamacli.binding.enums import llama_model_meta_key
from llamacli.binding.huge_pages import settle_in_huge_pages
from llamacli.binding.library import library
from llamacli.engine.params import LoraAdapter, ModelParams
from llamacli.engine.runtime.accents import ACCENTS_KEPT, strips_accents, without_accents
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.gate import Gate
from llamacli.engine.runtime.loading import ALL_LAYERS, as_loaded, because, can_use_huge_pages, fill_params, load
from llamacli.engine.runtime.rpc import register_nodes, watch_connections
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import ClosedError, MemoryFullError, ModelUnsupportedError
from llamacli.gguf.check.loadable import check_file, check_headers, check_tokens, refuse_head
from llamacli.gguf.header import TensorInfo

logger = logging.getLogger("llamacli.engine")

_NEVER_CAUSAL = ("gemma-embedding",)
"""Architectures without causal attention whose files may omit `attention.causal`."""


class Model:
    """The weights and vocabulary of a GGUF file. A context manager; `close()` frees it and is idempotent.

    Loading runs on a separate thread. `on_load` receives the progress, from 0 to 1, at once and then about 20 times a second;
    an exception raised in it, such as KeyboardInterrupt, stops the loading. `may_die`: tokens are checked while C reads the
    file, which is faster, and for a process that its parent watches: C may end it over a damaged file before the check does.
    `is_draft`: the file may be a head, which only drafts for another model. `beside` is run meanwhile, too.

    Raises (when built):
        ModelError: if the file is missing, corrupt or unsupported; the header is checked before llama.cpp reads it.
        MemoryFullError: if it does not fit in memory.
        CancelledError: if `cancel` was set.
    """

    def __init__(
        self,
        path: Path,
        params: ModelParams | None = None,
        *,
        cancel: CancelFlag | None = None,
        on_load: Callable[[float], None] | None = None,
        vocab_only: bool = False,
        may_die: bool = False,
        is_draft: bool = False,
        beside: Callable[[], object] = lambda: None,
    ) -> None:
        started = time.perf_counter()
        self.path = path
        self.vocab_only = vocab_only
        self.params = params or ModelParams()
        files = check_headers(path, vocabulary_only=vocab_only)
        if not is_draft and not vocab_only:
            refuse_head(files.header)
        if not may_die:
            check_tokens(files)
        self.header = files.header
        if self.params.mmproj is not None:
            from llamacli.engine.media.compatibility import check_projector  # most models take text only

            check_projector(self.params.mmproj, self.header)
        register_nodes(self.params.rpc)
        huge_pages = self.params.huge_pages and not vocab_only and can_use_huge_pages(self.header, self.params)
        if huge_pages:
            self.params = dataclasses.replace(self.params, mmap=False)
        self._strips_accents = strips_accents(self.header)
        self.params = as_loaded(self.params)
        self.cancel = cancel or CancelFlag()
        self._library = library()
        self.gate = Gate("the model")
        """While a thread is inside, the model is not freed. Calls into C with its handle use it, except those of contexts."""
        self._adapters: list[tuple[Any, float]] = []
        self.adapter_tensors: list[TensorInfo] = []
        """The tensors of all LoRA adapters."""
        self.notes: list[str] = []
        """Deviations from the parameters, to be reported to the user."""

        def meanwhile() -> None:
            if may_die:
                check_tokens(files)
            beside()

        self._handle = self._load_fitting(on_load, vocab_only, meanwhile)
        if huge_pages:
            settle_in_huge_pages()
        if self.params.rpc:
            watch_connections(self.params.rpc)
        try:
            handle = self._library.llama_model_get_vocab(self._handle)
            self.vocabulary = Vocabulary(self, handle, normalize=without_accents if self._strips_accents else None)
            for lora in self.params.loras:
                self._load_adapter(lora)
        except BaseException:
            self.close()
            raise
        self.load_ms = 1e3 * (time.perf_counter() - started)

    def _load_fitting(self, on_load: Callable[[float], None] | None, vocab_only: bool, beside: Callable[[], None]) -> Any:
        """Load with the requested layers on the GPU; while a device has too little memory, with a quarter fewer."""
        offload = self._library.llama_supports_gpu_offload() and not vocab_only
        layers = ALL_LAYERS if self.params.gpu_layers is None else self.params.gpu_layers
        if self.params.gpu_layers and not offload and not vocab_only:
            logger.info("gpu_layers has no effect: this build does not support GPUs")
        total = (self.header.integer(f"{self.header.architecture}.block_count") or 0) + 1
        changes = (ACCENTS_KEPT if self._strips_accents else {}) | dict(self.params.overrides)
        while True:
            try:
                number = layers if offload else 0
                return load(self.path, self.params, number, vocab_only, self.cancel, on_load, changes, beside=beside)
            except MemoryFullError as error:
                current = total if layers < 0 else min(layers, total)
                if not offload or current == 0:
                    raise
                layers = current * 3 // 4
                self.notes.append(f"{error.message}; trying again with {layers} of {total} layers on the GPU")
                logger.warning(self.notes[-1])

    def native_params(self) -> Any:
        """Return the parameters that the file was loaded with, as `llama_model_params`."""
        c_params = self._library.llama_model_default_params()
        layers = ALL_LAYERS if self.params.gpu_layers is None else self.params.gpu_layers
        fill_params(c_params, self.params, layers, self.vocab_only)
        return c_params

    def _load_adapter(self, lora: LoraAdapter) -> None:
        path = Path(lora.path)
        header = check_file(path)
        if header.text("general.type") != "adapter":
            raise ModelUnsupportedError(f"{path} is not a LoRA adapter")
        with log.complaints() as complaints:
            handle = self._library.llama_adapter_lora_init(self.handle, str(path).encode("utf-8", "surrogateescape"))
        if not handle:
            raise ModelUnsupportedError(f"the LoRA adapter {path} does not match this model{because(complaints)}")
        self._adapters.append((handle, lora.scale))
        self.adapter_tensors += header.tensors

    @property
    def handle(self) -> Any:
        """The `llama_model` pointer.

        Raises:
            ClosedError: if the model was closed.
        """
        self.require_open()
        return self._handle

    @property
    def adapters(self) -> list[tuple[Any, float]]:
        """The loaded LoRA adapters: handle and scale."""
        return self._adapters

    def require_open(self) -> None:
        """Raise ClosedError if the model was closed."""
        if self._handle is None or self.gate.is_closed:
            raise ClosedError("the model is closed")

    @functools.cached_property
    def n_ctx_train(self) -> int:
        """The context length, in tokens, that the model was trained with."""
        trained = int(self._library.llama_model_n_ctx_train(self.handle))  # 0 when only the vocabulary was loaded
        return trained or self.header.integer(f"{self.header.architecture}.context_length") or 0

    @functools.cached_property
    def description(self) -> str:
        """llama.cpp's short description: architecture, size class, quantization."""
        buffer = char_buffer(256)
        self._library.llama_model_desc(self.handle, buffer, 256)
        return bytes(buffer.value).decode("utf-8", "replace")

    @functools.cached_property
    def n_embd(self) -> int:
        """The width of the embeddings."""
        return int(self._library.llama_model_n_embd(self.handle))

    @functools.cached_property
    def can_generate(self) -> bool:
        """True if the model continues text: not for encoders and diffusion models."""
        lib = self._library
        is_decoder = lib.llama_model_has_decoder(self.handle) and not lib.llama_model_is_diffusion(self.handle)
        return bool(is_decoder) and self.is_causal

    @property
    def is_causal(self) -> bool:
        """True if a token attends only to those before it."""
        architecture = self.header.architecture
        return architecture not in _NEVER_CAUSAL and self.header.flag(f"{architecture}.attention.causal") is not False

    @functools.cached_property
    def has_encoder(self) -> bool:
        """True if the prompt goes through an encoder first."""
        return bool(self._library.llama_model_has_encoder(self.handle))

    @functools.cached_property
    def is_recurrent(self) -> bool:
        """True if the state of a sequence cannot be truncated to an earlier token."""
        lib = self._library
        return bool(lib.llama_model_is_recurrent(self.handle) or lib.llama_model_is_hybrid(self.handle))

    @functools.cached_property
    def window(self) -> int:
        """The tokens that layers with a sliding window attend to; 0 without such layers."""
        return int(self._library.llama_model_n_swa(self.handle))

    def chat_template(self) -> str | None:
        """Return the source of the model's own chat template, or None."""
        with self.gate:
            text = self._library.llama_model_chat_template(self.handle, None)
            return text.decode("utf-8", "replace") if text else None

    def metadata(self, key: str) -> str | None:
        """Return a scalar of the file's metadata as text, or None."""
        size = 1024
        while True:
            buffer = char_buffer(size)
            with self.gate:
                count = self._library.llama_model_meta_val_str(self.handle, key.encode(), buffer, size)
            if count < size:
                return bytes(buffer.value).decode("utf-8", "replace") if count >= 0 else None
            size = count + 1

    def all_metadata(self) -> dict[str, str]:
        """Return all scalars of the file's metadata as text."""
        buffer = char_buffer(1024)
        found = {}
        with self.gate:
            for index in range(self._library.llama_model_meta_count(self.handle)):
                self._library.llama_model_meta_key_by_index(self.handle, index, buffer, 1024)
                key = bytes(buffer.value).decode("utf-8", "replace")
                found[key] = self.metadata(key) or ""
        return found

    def recommended_sampling(self) -> dict[str, str]:
        """Return the sampling that the metadata recommends, by llama.cpp's key without its prefix (`temp`, `top_k`, …)."""
        found = {}
        for key in llama_model_meta_key:
            name = self._library.llama_model_meta_key_str(key).decode()
            value = self.metadata(name)
            if value is not None:
                found[name.removeprefix("general.sampling.")] = value
        return found

    @functools.cached_property
    def suppressed_tokens(self) -> list[int]:
        """The tokens that, according to the metadata, must never be generated."""
        count = int32()
        tokens = self._library.llama_vocab_get_suppress_tokens(
            self._library.llama_model_get_vocab(self.handle), reference(count)
        )
        return list(tokens[: count.value]) if count.value else []

    def close(self) -> None:
        """Free the model and its adapters as soon as no thread is inside `gate`."""
        self.gate.close(self._free)

    def _free(self) -> None:
        handle, self._handle = self._handle, None
        self._adapters = []
        if handle is not None:
            self._library.llama_model_free(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
