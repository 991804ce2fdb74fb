"""The collection of an importance matrix: a text is evaluated, and the native collector watches every product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llamacli.binding import log
from llamacli.binding.arrays import copy_floats, copy_integers
from llamacli.binding.library import address_of, library
from llamacli.engine.quantization.importance import ImportanceEntry
from llamacli.engine.quantization.types import ChunkCollected, CollectRequest
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.loading import interruptible
from llamacli.engine.runtime.model import Model
from llamacli.engine.tokenization.documents import chunks_of, text_document
from llamacli.engine.tokenization.tokenizer import Tokenizer
from llamacli.errors import CancelledError, DecodeError, ModelUnsupportedError, UsageError
from llamacli.units import counted


class NativeCollector:
    """The native collector. The contexts that it watches are closed before it."""

    def __init__(self, *, with_output: bool) -> None:
        self._library = library()
        self.handle: Any = self._library.llamacli_imatrix_new(with_output)
        self.callback = address_of(self._library.llamacli_imatrix_callback)
        self.address = address_of(self.handle)

    def check(self) -> None:
        """Raise DecodeError if collecting failed."""
        error = self._library.llamacli_imatrix_error(self.handle)
        if error:
            raise DecodeError(f"the importance matrix cannot be collected: {error.decode('utf-8', 'replace')}")

    def entries(self) -> Iterator[ImportanceEntry]:
        """Yield what was collected."""
        lib, handle = self._library, self.handle
        for index in range(lib.llamacli_imatrix_size(handle)):
            sums = lib.llamacli_imatrix_sums(handle, index), lib.llamacli_imatrix_n_sums(handle, index)
            counts = lib.llamacli_imatrix_counts(handle, index), lib.llamacli_imatrix_n_counts(handle, index)
            name = lib.llamacli_imatrix_name(handle, index).decode("utf-8", "replace")
            yield ImportanceEntry(name, copy_floats(*sums), copy_integers(*counts))

    def close(self) -> None:
        """Free it. May be called twice."""
        handle, self.handle = self.handle, None
        if handle is not None:
            self._library.llamacli_imatrix_free(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def collect(
    request: CollectRequest, cancel: CancelFlag, on_load: Callable[[float], None] | None = None
) -> Iterator[ChunkCollected | ImportanceEntry]:
    """Yield the chunks as they are evaluated, then the entries. Setting `cancel` ends the evaluation: the entries come next.

    Raises:
        UsageError: if the text is too short.
        ModelError, CapacityError: if the model cannot be evaluated.
        CancelledError: if `cancel` was set before it was loaded.
    """
    log.route()
    with (
        Model(Path(request.path), request.model, cancel=cancel, on_load=on_load) as model,
        NativeCollector(with_output=request.with_output) as collector,
    ):
        if model.has_encoder or not model.can_generate:
            raise ModelUnsupportedError(f"{model.path.name} does not continue text: it has no importance matrix")
        chunks = _chunks(model, request)
        # Outputs of all tokens: otherwise the last layer is computed for some only.
        size = min(request.n_ctx, request.context.n_batch)
        params = replace(request.context, n_ctx=request.n_ctx, n_batch=size, n_seq_max=1, all_outputs=True)
        with interruptible(lambda: Context(model, params, observer=collector), cancel) as context:
            for number, tokens in enumerate(chunks, start=1):
                try:
                    _evaluate(context, tokens)
                except CancelledError:
                    break
                collector.check()
                yield ChunkCollected(number, len(chunks))
        yield from collector.entries()


def _evaluate(context: Context, tokens: list[int]) -> None:
    context.clear()
    for begin in range(0, len(tokens), context.n_batch):
        part = tokens[begin : begin + context.n_batch]
        context.decode(part, list(range(begin, begin + len(part))), [0] * len(part), [1] * len(part))
    context.synchronize()


def _chunks(model: Model, request: CollectRequest) -> list[list[int]]:
    """Return the tokens of each chunk, the first of each replaced by the beginning of text, if the model has one."""
    chunks = chunks_of(Tokenizer(model), [text_document("the text", request.text)])
    tokens = [token for chunk in chunks for token in chunk.tokens]
    size, vocabulary = request.n_ctx, model.vocabulary
    if len(tokens) < size:
        raise UsageError(
            f"the text is too short: it has {counted(len(tokens), 'token')}, and a chunk has {size}",
            hint="use a longer text or a smaller n_ctx",
            parameter="n_ctx",
        )
    found = [tokens[begin : begin + size] for begin in range(0, len(tokens) - size + 1, size)][: request.chunks]
    if vocabulary.add_bos:
        for chunk in found:
            chunk[0] = vocabulary.bos
    return found
