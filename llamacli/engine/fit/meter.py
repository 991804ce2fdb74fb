"""Memory needed for given parameters: as llama.cpp lays it out, or by a formula from the header."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from llamacli.binding import bridge, log
from llamacli.binding.enums import llama_context_type
from llamacli.binding.library import library
from llamacli.engine.fit.report import MARGIN, DeviceShare
from llamacli.engine.params import MOST_DRAFT, ContextParams, ModelParams
from llamacli.engine.runtime.context_params import native_params
from llamacli.engine.runtime.hardware import available_memory
from llamacli.engine.runtime.loading import ALL_LAYERS, as_loaded, fill_params
from llamacli.engine.runtime.rpc import register_nodes
from llamacli.errors import MemoryFullError, ModelError, ModelFileError, ModelUnsupportedError
from llamacli.gguf.analysis.memory import Workload, estimate_memory
from llamacli.gguf.analysis.projector import projector_memory
from llamacli.gguf.check import eagle
from llamacli.gguf.check.loadable import check_loadable
from llamacli.gguf.model import ModelFiles, read_file_header, read_files
from llamacli.gguf.source import FileSource, Source

CELLS = 256
"""llama.cpp rounds the context up to a multiple of this."""

_CELL_BYTES = 48
"""Bookkeeping that llama.cpp keeps for each cell, in bytes: position, shift, position in an image, and its sequences."""

_ALWAYS_TRIED = 64 << 20
"""Bytes of bookkeeping that are tried in any case."""

FORMULA_PROGRAM = 60 << 20
"""Bytes of interpreter, libraries and vocabulary, where nothing can be measured."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Memory needed for some parameters. `gpu_layers` is None without a GPU."""

    devices: tuple[DeviceShare, ...]
    gpu_layers: int | None

    @property
    def fits(self) -> bool:
        """True if every device has room for its share."""
        return all(device.fits for device in self.devices)


class Meter(Protocol):
    """A source of `MemoryNeed`."""

    is_estimate: bool

    def measure(self, model: ModelParams, context: ContextParams, size: int) -> MemoryNeed:
        """Return the memory needed for a context of `size` tokens.

        Raises:
            ModelError: if llama.cpp cannot read the model, or cannot create such a context for it.
            MemoryFullError: if the context is too large to be laid out at all.
        """


class NativeMeter:
    """Measurement by llama.cpp, which lays out model, cache and graphs without allocating them."""

    is_estimate = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.program: int | None = None
        self.host_free = available_memory()  # once: it changes all the time, and measurements are compared

    def measure(self, model: ModelParams, context: ContextParams, size: int) -> MemoryNeed:
        """Return the memory needed for a context of `size` tokens. Raises ModelError and MemoryFullError as `Meter` does."""
        if model.mtp or model.draft_model is not None:
            context = replace(context, rollback=MOST_DRAFT)
        self._check_cells(size * context.n_seq_max)
        register_nodes(model.rpc)
        lib = library()
        name = str(self.path).encode("utf-8", "surrogateescape")
        offload = lib.llama_supports_gpu_offload()
        c_model, c_context = lib.llama_model_default_params(), native_params(context, size, model.kernels)
        log.route()
        with ExitStack() as stack:
            kept = fill_params(c_model, model, ALL_LAYERS if model.gpu_layers is None else model.gpu_layers, vocab_only=False)
            try:
                if offload and model.gpu_layers is None:
                    c_model.n_gpu_layers = lib.llama_model_default_params().n_gpu_layers  # a value that the fit may change
                    stack.enter_context(bridge.Fitted(name, c_model, c_context, margin=MARGIN, n_ctx_min=CELLS))
                document = bridge.memory(name, c_model, c_context)
                heads = self._heads(name, c_model, c_context) if model.mtp else {}
            except ModelError as error:
                raise self._explained(error) from error
            del kept
        if self.program is None:
            self.program = _peak_memory()
        layers = (ALL_LAYERS if c_model.n_gpu_layers > document["n_layer"] else int(c_model.n_gpu_layers)) if offload else None
        shares = tuple(replace(self._share(device), draft=heads.get(device["name"], 0)) for device in document["devices"])
        if model.mmproj is not None:
            shares = _with_projector(shares, model.mmproj)
        if model.draft_model is not None:
            shares = _with_draft_model(shares, Path(model.draft_model), model, context, size)
        return MemoryNeed(shares, layers)

    def _heads(self, name: bytes, c_model: Any, c_context: Any) -> dict[str, int]:
        """Return the bytes that the context of the model's own layers for drafts takes, by device."""
        c_context.ctx_type = llama_context_type.LLAMA_CONTEXT_TYPE_MTP
        devices = bridge.memory(name, c_model, c_context)["devices"]
        return {device["name"]: device["context"] + device["compute"] for device in devices}

    def _check_cells(self, cells: int) -> None:
        """Refuse a context whose cells alone fill the memory: llama.cpp allocates their bookkeeping even to measure."""
        if self.host_free is not None and cells * _CELL_BYTES > max(self.host_free, _ALWAYS_TRIED):
            raise MemoryFullError(
                f"a context of {cells} tokens does not fit in memory",
                hint="use a smaller n_ctx, or fewer tokens",
                parameter="n_ctx",
            )

    def _explained(self, error: ModelError) -> ModelError:
        """Return the error with a cause: llama-common hides llama.cpp's message, and says only which of two steps failed."""
        if "context" in error.message:
            message = f"{self.path.name}: llama.cpp cannot create such a context for this model"
            return ModelUnsupportedError(
                message, hint="try cache_type_k=f16 cache_type_v=f16, a smaller n_ctx or fewer sequences", parameter="n_ctx"
            )
        return ModelFileError(f"llama.cpp cannot read {self.path.name}: {error.message}")

    def _share(self, device: dict[str, Any]) -> DeviceShare:
        host = bool(device["host"])
        return DeviceShare(
            name=device["name"],
            description=device["description"],
            host=host,
            free=(self.host_free or device["free"]) if host else device["free"],
            weights=device["model"],
            cache=device["context"],
            compute=device["compute"],
            program=(self.program or 0) if host else 0,
        )


class FormulaMeter:
    """An estimate from the header alone, as if this machine's processor did all the work."""

    is_estimate = True

    def __init__(self, files: ModelFiles, source: Source) -> None:
        self.files = files
        self.source = source
        self.host_free = available_memory()

    def measure(self, model: ModelParams, context: ContextParams, size: int) -> MemoryNeed:
        """Return the estimated memory for a context of `size` tokens. Raises ModelError if the header lacks a key."""
        memory = estimate_memory(self.files, self.source, _workload(context, size))
        share = DeviceShare(
            name="CPU",
            description="",
            host=True,
            free=self.host_free,
            weights=memory.weights,
            cache=memory.cache,
            compute=memory.compute,
            program=FORMULA_PROGRAM,
        )
        return MemoryNeed((share,), None)


def _with_projector(shares: tuple[DeviceShare, ...], path: str) -> tuple[DeviceShare, ...]:
    """Return the shares with that of the projector, which is on the first GPU if there is one."""
    size = projector_memory(read_file_header(path))
    place = next((number for number, share in enumerate(shares) if not share.host), 0)
    return (*shares[:place], replace(shares[place], projector=size), *shares[place + 1 :])


def _with_draft_model(
    shares: tuple[DeviceShare, ...], path: Path, model: ModelParams, context: ContextParams, size: int
) -> tuple[DeviceShare, ...]:
    """Return the shares with those of the draft model, whose context has the same size."""
    from llamacli.engine.generation.drafts.draft_model import draft_context_params, draft_params

    if eagle.is_eagle(check_loadable(path)):
        return _with_head(shares, read_files(path), model, context, size)
    params = as_loaded(draft_params(model))
    need = NativeMeter(path).measure(params, draft_context_params(context), size)
    sizes = {device.name: device.weights + device.cache + device.compute for device in need.devices}
    return tuple(replace(share, draft=sizes.get(share.name, 0)) for share in shares)


def _with_head(
    shares: tuple[DeviceShare, ...], files: ModelFiles, model: ModelParams, context: ContextParams, size: int
) -> tuple[DeviceShare, ...]:
    """Return the shares with that of an EAGLE-3 head, by the formula: llama.cpp lays it out beside its model's context only.

    It is on the first GPU if there is one, and the states of the model's layers that it takes are in the host's memory.
    """
    from llamacli.engine.generation.drafts.head_drafts import head_context_params

    work = _workload(head_context_params(context), size)
    with FileSource(files.locations[0]) as source:
        own = estimate_memory(files, source, work).total
    states = eagle.taken_width(files.header) * 4 * min(context.n_batch, size * context.n_seq_max)
    gpu = None if model.draft_gpu_layers == 0 else next((number for number, one in enumerate(shares) if not one.host), None)
    host = next(number for number, one in enumerate(shares) if one.host)
    added = {host: states}
    added[host if gpu is None else gpu] = own + added.get(host if gpu is None else gpu, 0)
    return tuple(replace(share, draft=share.draft + added.get(number, 0)) for number, share in enumerate(shares))


def _workload(context: ContextParams, size: int) -> Workload:
    """Return the use of the memory by contexts of `size` tokens."""
    return Workload(
        context=size,
        sequences=context.n_seq_max,
        ubatch=min(context.n_ubatch, context.n_batch, size),
        cache_type_k=context.cache_type_k,
        cache_type_v=context.cache_type_v,
    )


def _peak_memory() -> int:
    """Return the peak resident memory of this process, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
