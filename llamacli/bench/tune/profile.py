"""Setups as settings, under the keys of the settings file."""

from __future__ import annotations

from llamacli.bench.measure.setup import Setup
from llamacli.bench.tune.params import TuneReport, Value
from llamacli.engine.params import ContextParams, ModelParams

_DEFAULT = Setup(model=ModelParams(), context=ContextParams())


def profile_of(report: TuneReport) -> dict[str, Value]:
    """Return the settings of the best setup: those that were tried, and those that differ from the built-in default."""
    tried = {choice.name for choice in report.choices if choice.tried}
    if "cache-type" in tried:
        tried |= {"cache-type-k", "cache-type-v"}
    standard = _settings(_DEFAULT)
    return {name: value for name, value in _settings(report.best).items() if name in tried or value != standard[name]}


def changed_settings(report: TuneReport) -> dict[str, Value]:
    """Return the settings of the best setup that differ from the start."""
    before, after = _settings(report.start), _settings(report.best)
    return {name: value for name, value in after.items() if value != before[name]}


def _settings(setup: Setup) -> dict[str, Value]:
    context, layers = setup.context, setup.model.gpu_layers
    return {
        "threads": context.threads if context.threads is not None else -1,
        "threads-batch": context.threads_batch if context.threads_batch is not None else -1,
        "batch-size": context.n_batch,
        "ubatch-size": context.n_ubatch,
        "flash-attn": context.flash_attention,
        "cache-type-k": context.cache_type_k,
        "cache-type-v": context.cache_type_v,
        "gpu-layers": "auto" if layers is None else "all" if layers < 0 else layers,
    }
