"""The check whether a model fits with given parameters, and the search for the largest context that does.

The numbers are llama.cpp's own: it lays out model, cache and graphs without allocating them. The memory of the process itself
is measured meanwhile, when it holds all that a run holds except the weights, the cache and the buffers. A model of which only
the header is available is estimated by a formula instead (`gguf.estimate`).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from llamacli.engine.fit.meter import CELLS, FormulaMeter, MemoryNeed, Meter, NativeMeter
from llamacli.engine.fit.report import FitReport
from llamacli.engine.params import DEFAULT_CONTEXT, CacheType, ContextParams, ModelParams
from llamacli.engine.runtime.loading import as_loaded
from llamacli.errors import MemoryFullError, ModelError
from llamacli.gguf.check.loadable import check_loadable, refuse_head
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.source import Source

SMALLER_CACHES: tuple[CacheType, ...] = ("q8_0", "q4_0")


def fit_model(path: Path, model: ModelParams, context: ContextParams) -> FitReport:
    """Check whether a model fits on this machine. Raises ModelError if llama.cpp cannot read it."""
    header = check_loadable(path)
    refuse_head(header)
    trained = header.integer(f"{header.architecture}.context_length") or 0
    layers = header.integer(f"{header.architecture}.block_count") or 0
    return _search(NativeMeter(path), as_loaded(model), context, trained, layers)


def estimate_model(files: ModelFiles, source: Source, model: ModelParams, context: ContextParams) -> FitReport:
    """Check by its header alone whether a model would fit if this machine's processor did all the work."""
    header = files.header
    refuse_head(header)
    trained = header.integer(f"{header.architecture}.context_length") or 0
    layers = header.integer(f"{header.architecture}.block_count") or 0
    return _search(FormulaMeter(files, source), model, context, trained, layers)


def weights_by_device(path: Path, model: ModelParams, context: ContextParams, size: int) -> dict[str, int]:
    """Return the bytes of weights that each device would hold, with a context of `size` tokens.

    Raises:
        ModelError: if llama.cpp cannot read the model, or cannot create such a context for it.
        MemoryFullError: if the context is too large to be laid out at all.
    """
    check_loadable(path)
    need = NativeMeter(path).measure(as_loaded(model), context, size)
    return {device.name: device.weights for device in need.devices if device.weights}


def _search(meter: Meter, model: ModelParams, context: ContextParams, trained: int, layers: int) -> FitReport:
    size = context.n_ctx if context.n_ctx is not None else min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    size = size or trained or DEFAULT_CONTEXT
    requested = meter.measure(model, context, size)
    most = max(trained, CELLS)
    largest = _largest(meter, model, context, most)
    return FitReport(
        devices=requested.devices,
        context=size,
        sequences=context.n_seq_max,
        trained_context=trained,
        layers=layers,
        gpu_layers=requested.gpu_layers,
        largest_context=largest,
        settings=_fitting_settings(meter, model, context, requested, size, largest, most),
        is_estimate=meter.is_estimate,
    )


def _largest(meter: Meter, model: ModelParams, context: ContextParams, most: int) -> int:
    """Return the largest context that fits, a multiple of 256 tokens; 0 if not even the smallest does.

    Memory grows nearly linearly with the context, so that the line between a size that fits and one that does not predicts
    where to look next. The result is measured, and the next larger size was found not to fit.
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
        middle = (low + high) // 2 if above is None or tries % 4 == 0 else _interpolated(below, above, low, high)
        measured = _measured(meter, model, context, middle * CELLS)
        if measured is not None and measured.fits:
            low, below = middle, measured
        else:
            high, above = middle, measured
    return low * CELLS


def _interpolated(below: MemoryNeed, above: MemoryNeed, low: int, high: int) -> int:
    """Return the last step between `low` and `high` at which, by linear interpolation, every device has room."""
    found = high - 1
    for before, after in zip(below.devices, above.devices, strict=False):
        if before.room is not None and after.room is not None and after.room < 0 <= before.room:
            found = min(found, low + before.room * (high - low) // (before.room - after.room))
    return max(found, low + 1)


def _fits(meter: Meter, model: ModelParams, context: ContextParams, size: int) -> bool:
    measured = _measured(meter, model, context, size)
    return measured is not None and measured.fits


def _measured(meter: Meter, model: ModelParams, context: ContextParams, size: int) -> MemoryNeed | None:
    try:
        return meter.measure(model, context, size)
    except (ModelError, MemoryFullError):  # an impossible context, or one of more bytes than can be counted
        return None


def _fitting_settings(
    meter: Meter,
    model: ModelParams,
    context: ContextParams,
    requested: MemoryNeed,
    size: int,
    largest: int,
    most: int,
) -> dict[str, int | str]:
    """Return parameters with which it fits: the requested ones, else with a smaller cache, else with a smaller context."""
    layers: dict[str, int | str] = {} if requested.gpu_layers is None else {"gpu_layers": requested.gpu_layers}
    if requested.fits:
        return {"n_ctx": size, **layers}
    for kind in SMALLER_CACHES:
        smaller = dataclasses.replace(context, cache_type_k=kind, cache_type_v=kind)
        if size <= most and _fits(meter, model, smaller, size):
            return {"n_ctx": size, "cache_type_k": kind, "cache_type_v": kind, **layers}
    return {"n_ctx": largest, **layers} if largest else {}
