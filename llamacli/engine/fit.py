"""How much memory a model takes with given parameters, and the largest context that fits.

The numbers are llama.cpp's own: it lays out model, cache and graphs without allocating them. What the process takes besides
is measured while it does so, since it then holds all that a run holds but the weights, the cache and the buffers. For a model
of which only the header is at hand there is a formula instead (`gguf.estimate`).
"""

from __future__ import annotations

import dataclasses
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamacli import gguf
from llamacli.binding import bridge, log
from llamacli.binding.library import library
from llamacli.engine.params import DEFAULT_CONTEXT, CacheType, ContextParams, ModelParams
from llamacli.engine.runtime.context import native_params
from llamacli.engine.runtime.hardware import available_memory
from llamacli.engine.runtime.loading import ALL_LAYERS, fill_params
from llamacli.errors import MemoryFullError, ModelError, ModelFileError, ModelUnsupportedError
from llamacli.gguf import ModelFiles
from llamacli.gguf.analysis.memory import Workload, estimate_memory
from llamacli.gguf.source import Source

MARGIN = 256 << 20
"""Bytes to leave free on each device that is not the host."""

CELLS = 256
"""llama.cpp rounds the context up to a multiple of this."""

_CELL_NOTES = 48
"""Bytes that llama.cpp keeps on each cell: position, shift, place in an image, and the sequences that it belongs to."""

_SMALL_NOTES = 64 << 20
"""Bytes of them that can always be tried."""

FORMULA_PROGRAM = 60 << 20
"""Bytes of interpreter, libraries and vocabulary, where nothing could be measured."""

SMALLER_CACHES: tuple[CacheType, ...] = ("q8_0", "q4_0")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceShare:
    """What one device has and what it would hold, in bytes. `free` is None where nobody knows.

    `program` is the process itself: interpreter, libraries and vocabulary.
    """

    name: str
    description: str
    host: bool
    free: int | None
    weights: int
    cache: int
    compute: int
    program: int = 0

    @property
    def needed(self) -> int:
        """All together."""
        return self.weights + self.cache + self.compute + self.program

    @property
    def room(self) -> int | None:
        """What would be left, less a margin on a GPU; negative if it does not fit."""
        return None if self.free is None else self.free - self.needed - (0 if self.host else MARGIN)

    @property
    def fits(self) -> bool:
        """Whether there is room for it."""
        return self.room is None or self.room >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """Whether a model fits. Contexts are in tokens for each of `sequences`.

    `largest_context` is what fits with everything else as it is, up to what the model was trained with; 0 if nothing does.
    `flags` make it work, as they stand on a command line; empty if nothing can. `is_estimate`: by a formula.
    """

    devices: tuple[DeviceShare, ...]
    context: int
    sequences: int
    trained_context: int
    layers: int
    gpu_layers: int | None
    largest_context: int
    flags: tuple[str, ...]
    is_estimate: bool

    @property
    def fits(self) -> bool:
        """Whether it fits as asked for."""
        return all(device.fits for device in self.devices)

    @property
    def total(self) -> int:
        """Bytes on all devices."""
        return sum(device.needed for device in self.devices)


def fit_model(path: Path, model: ModelParams, context: ContextParams) -> FitReport:
    """Whether a model on this machine fits. Raises ModelError if llama.cpp cannot read it."""
    header = gguf.check_loadable(path)
    trained = header.integer(f"{header.architecture}.context_length") or 0
    layers = header.integer(f"{header.architecture}.block_count") or 0
    return _search(_Native(path), model, context, trained, layers)


def estimate_model(files: ModelFiles, source: Source, model: ModelParams, context: ContextParams) -> FitReport:
    """Whether a model would fit, by its header alone, if this machine's processor did all the work."""
    header = files.header
    trained = header.integer(f"{header.architecture}.context_length") or 0
    layers = header.integer(f"{header.architecture}.block_count") or 0
    return _search(_Formula(files, source), model, context, trained, layers)


def weights_by_device(path: Path, model: ModelParams, context: ContextParams, size: int) -> dict[str, int]:
    """Bytes of weights that each device would hold, for a context of `size` tokens. Raises ModelError, MemoryFullError."""
    measured = _Native(path).measure(model, context, size)
    return {device.name: device.weights for device in measured.devices if device.weights}


@dataclass(frozen=True, slots=True)
class _Measured:
    """What some parameters need. `gpu_layers` is None where there is no GPU."""

    devices: tuple[DeviceShare, ...]
    gpu_layers: int | None

    @property
    def fits(self) -> bool:
        return all(device.fits for device in self.devices)


class _Native:
    """Asks llama.cpp."""

    is_estimate = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.program: int | None = None
        self.host_free = available_memory()  # once: it changes all the time, and measurements are compared

    def measure(self, model: ModelParams, context: ContextParams, size: int) -> _Measured:
        self._check_cells(size * context.n_seq_max)
        lib = library()
        name = str(self.path).encode("utf-8", "surrogateescape")
        offload = lib.llama_supports_gpu_offload()
        c_model, c_context = lib.llama_model_default_params(), native_params(context, size)
        log.route()
        with ExitStack() as stack:
            kept = fill_params(c_model, model, ALL_LAYERS if model.gpu_layers is None else model.gpu_layers, vocab_only=False)
            try:
                if offload and model.gpu_layers is None:
                    c_model.n_gpu_layers = lib.llama_model_default_params().n_gpu_layers  # what the fit may change
                    stack.enter_context(bridge.Fitted(name, c_model, c_context, margin=MARGIN, n_ctx_min=CELLS))
                document = bridge.memory(name, c_model, c_context)
            except ModelError as error:
                raise self._reason(error) from error
            del kept
        if self.program is None:
            self.program = _peak_memory()
        layers = (ALL_LAYERS if c_model.n_gpu_layers > document["n_layer"] else int(c_model.n_gpu_layers)) if offload else None
        return _Measured(tuple(self._share(device) for device in document["devices"]), layers)

    def _check_cells(self, cells: int) -> None:
        """llama.cpp allots no cache to measure it, but does the notes on its cells, which are nothing up to a million or so."""
        if self.host_free is not None and cells * _CELL_NOTES > max(self.host_free, _SMALL_NOTES):
            raise MemoryFullError(
                f"a context of {cells} tokens does not fit in memory", hint="use a smaller -c, or fewer tokens"
            )

    def _reason(self, error: ModelError) -> ModelError:
        """llama-common keeps llama.cpp's own words to itself; it tells at which of two steps it failed."""
        if "context" in error.message:
            message = f"{self.path.name}: llama.cpp cannot make such a context for this model"
            return ModelUnsupportedError(message, hint="try -ctk f16 -ctv f16, a smaller -c or fewer sequences")
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


class _Formula:
    """Reckons with the header."""

    is_estimate = True

    def __init__(self, files: ModelFiles, source: Source) -> None:
        self.files = files
        self.source = source
        self.host_free = available_memory()

    def measure(self, model: ModelParams, context: ContextParams, size: int) -> _Measured:
        work = Workload(
            context=size,
            sequences=context.n_seq_max,
            ubatch=min(context.n_ubatch, context.n_batch, size),
            cache_type_k=context.cache_type_k,
            cache_type_v=context.cache_type_v,
        )
        memory = estimate_memory(self.files, self.source, work)
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
        return _Measured((share,), None)


def _search(meter: _Native | _Formula, model: ModelParams, context: ContextParams, trained: int, layers: int) -> FitReport:
    size = context.n_ctx if context.n_ctx is not None else min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    size = size or trained or DEFAULT_CONTEXT
    asked = meter.measure(model, context, size)
    largest = _largest(meter, model, context, max(trained, CELLS))
    return FitReport(
        devices=asked.devices,
        context=size,
        sequences=context.n_seq_max,
        trained_context=trained,
        layers=layers,
        gpu_layers=asked.gpu_layers,
        largest_context=largest,
        flags=_flags(meter, model, context, asked, size, largest, max(trained, CELLS)),
        is_estimate=meter.is_estimate,
    )


def _largest(meter: _Native | _Formula, model: ModelParams, context: ContextParams, most: int) -> int:
    """The largest context that fits, to the next 256 tokens; 0 if not even the smallest does.

    Memory grows nearly in a straight line with the context, so that the line between a size that fits and one that does not
    tells where to look next. The answer is measured, and the size above it was found not to fit.
    """
    low, high = 1, max(most // CELLS, 2)
    below, above = (_measured(meter, model, context, steps * CELLS) for steps in (low, high))
    if above is not None and above.fits:
        return most
    if below is None or not below.fits:
        return 0
    tries = 0
    while high - low > 1:
        tries += 1
        middle = (low + high) // 2 if above is None or tries % 4 == 0 else _on_the_line(below, above, low, high)
        measured = _measured(meter, model, context, middle * CELLS)
        if measured is not None and measured.fits:
            low, below = middle, measured
        else:
            high, above = middle, measured
    return low * CELLS


def _on_the_line(below: _Measured, above: _Measured, low: int, high: int) -> int:
    """The last of the steps between `low` and `high` at which, by the line between them, every device has room."""
    found = high - 1
    for before, after in zip(below.devices, above.devices, strict=False):
        if before.room is not None and after.room is not None and after.room < 0 <= before.room:
            found = min(found, low + before.room * (high - low) // (before.room - after.room))
    return max(found, low + 1)


def _fits(meter: _Native | _Formula, model: ModelParams, context: ContextParams, size: int) -> bool:
    measured = _measured(meter, model, context, size)
    return measured is not None and measured.fits


def _measured(meter: _Native | _Formula, model: ModelParams, context: ContextParams, size: int) -> _Measured | None:
    try:
        return meter.measure(model, context, size)
    except (ModelError, MemoryFullError):  # a context that cannot be, or of more bytes than can be counted
        return None


def _flags(
    meter: _Native | _Formula,
    model: ModelParams,
    context: ContextParams,
    asked: _Measured,
    size: int,
    largest: int,
    most: int,
) -> tuple[str, ...]:
    """Options that make it fit: as asked if that works, else a smaller cache, else a smaller context."""
    layers = () if asked.gpu_layers is None else ("-ngl", "all" if asked.gpu_layers < 0 else str(asked.gpu_layers))
    if asked.fits:
        return ("-c", str(size), *layers)
    for kind in SMALLER_CACHES:
        smaller = dataclasses.replace(context, cache_type_k=kind, cache_type_v=kind)
        if size <= most and _fits(meter, model, smaller, size):
            return ("-c", str(size), "-ctk", kind, "-ctv", kind, *layers)
    return ("-c", str(largest), *layers) if largest else ()


def _peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
