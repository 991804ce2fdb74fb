"""The settings that stand for a way of running a model, under the options' long names."""

from __future__ import annotations

from llamacli.bench.measure.trial import Way
from llamacli.bench.tune.params import TuneReport, Value
from llamacli.engine.params import ContextParams, ModelParams

_DEFAULT = Way(model=ModelParams(), context=ContextParams())


def profile_of(report: TuneReport) -> dict[str, Value]:
    """The settings of the best way: those that were tried, and those that are not the built-in default."""
    tried = {choice.name for choice in report.choices if choice.tried}
    if "cache-type" in tried:
        tried |= {"cache-type-k", "cache-type-v"}
    standard = _values(_DEFAULT)
    return {name: value for name, value in _values(report.best).items() if name in tried or value != standard[name]}


def changed_flags(report: TuneReport) -> list[str]:
    """What differs from the start, as it stands on a command line."""
    before, after = _values(report.start), _values(report.best)
    words: list[str] = []
    for name, value in after.items():
        if value != before[name]:
            words += [_FLAGS[name], str(value)]
    return words


_FLAGS = {
    "threads": "-t",
    "threads-batch": "-tb",
    "batch-size": "-b",
    "ubatch-size": "-ub",
    "flash-attn": "-fa",
    "cache-type-k": "-ctk",
    "cache-type-v": "-ctv",
    "gpu-layers": "-ngl",
}


def _values(way: Way) -> dict[str, Value]:
    context, layers = way.context, way.model.gpu_layers
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
