"""The models and contexts of interleaved tests, with the memory that each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llamacli.bench.measure.end_to_end import EndToEndTest
from llamacli.bench.measure.image import ImageTest
from llamacli.bench.measure.monitor import mapped_bytes, memory_use
from llamacli.bench.measure.params import CHAT_TURNS, BenchTest, ModelFacts
from llamacli.bench.measure.setup import context_params, model_params
from llamacli.bench.measure.token_test import PreparedTest, TokenTest, load_model, model_facts
from llamacli.binding import log
from llamacli.binding.arrays import reference, size_pair
from llamacli.binding.enums import ggml_backend_dev_type
from llamacli.binding.library import library
from llamacli.engine.params import ModelParams
from llamacli.engine.runtime.cache_size import cache_bytes
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.canceller import Canceller
from llamacli.engine.runtime.model import Model

_GPU = (ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_GPU, ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_IGPU)


@dataclass(frozen=True, slots=True)
class Footprint:
    """The cost of a test: milliseconds of loading, and bytes as if it had run alone (None if unknown)."""

    facts: ModelFacts
    load_ms: float
    host: int | None
    device: int | None


@dataclass(frozen=True, slots=True)
class _MemoryInUse:
    """Memory in bytes: the process's own, and on GPUs."""

    own: int
    device: int

    def __sub__(self, other: _MemoryInUse) -> _MemoryInUse:
        return _MemoryInUse(max(0, self.own - other.own), max(0, self.device - other.device))

    def __add__(self, other: _MemoryInUse) -> _MemoryInUse:
        return _MemoryInUse(self.own + other.own, self.device + other.device)


class BenchResources:
    """The models and contexts of prepared tests. Tests of one file with the same model parameters share the model."""

    def __init__(self, cancel: Canceller, on_load: Callable[[float], None] | None = None) -> None:
        log.route()
        self._cancel, self._flag = cancel, CancelFlag()
        cancel.then(self._flag.set)
        self._on_load = on_load
        self._models: dict[tuple[str, ModelParams], tuple[Model, _MemoryInUse]] = {}
        self._before: dict[int, _MemoryInUse] = {}
        self._contexts: dict[int, _MemoryInUse] = {}
        self._base = memory_use()

    def prepare(self, test: BenchTest) -> PreparedTest:
        """Load the model and create the context of a test.

        The caller calls `record_memory` after the warm-up, or `discard` after a failure.

        Raises:
            LlamacliError: if the test cannot be prepared.
        """
        if test.workload in CHAT_TURNS:
            before = _memory_in_use()
            kind = ImageTest if test.workload == "image" else EndToEndTest
            prepared: PreparedTest = kind(test, self._cancel, self._on_load)
        else:
            model = self._model(test)
            before = _memory_in_use()
            prepared = TokenTest(test, model)
        self._before[id(prepared)] = before
        return prepared

    def record_memory(self, prepared: PreparedTest) -> None:
        """Record the memory that the test has taken since its preparation began."""
        self._contexts[id(prepared)] = _memory_in_use() - self._before.pop(id(prepared))

    @contextmanager
    def counting_growth(self, prepared: PreparedTest) -> Iterator[None]:
        """Add the memory taken during the block to that of a recorded test."""
        before = _memory_in_use()
        yield
        self._contexts[id(prepared)] += _memory_in_use() - before

    def discard(self, prepared: PreparedTest | None) -> None:
        """Free a test that failed before its first repetition."""
        if prepared is not None:
            self._before.pop(id(prepared), None)
            prepared.close()

    def footprint(self, prepared: PreparedTest) -> Footprint:
        """Return the cost of a recorded test."""
        context = self._contexts[id(prepared)]
        model, memory = (
            (prepared.engine.model, _MemoryInUse(0, 0))
            if isinstance(prepared, EndToEndTest)
            else self._models[_key(prepared.test)]
        )
        host = None
        if self._base is not None:
            host = self._base.own + self._base.mapped + memory.own + context.own + mapped_bytes(model.path)
        has_gpu = bool(library().llama_supports_gpu_offload())
        return Footprint(model_facts(model), model.load_ms, host, memory.device + context.device if has_gpu else None)

    def expected_bytes(self, test: BenchTest) -> int:
        """Estimate the memory that one more test takes: its file unless it is loaded, its cache and buffers."""
        needed = max((memory.own for memory in self._contexts.values()), default=0)
        loaded = self._models.get(_key(test))
        if loaded is None or test.workload in CHAT_TURNS:
            return needed + sum(_size(Path(name)) for name in (test.model, test.mmproj) if name)
        params = context_params(test)
        return needed + cache_bytes(loaded[0], params) * (params.n_ctx or 0) * test.n_parallel

    def drop_models(self, following: Iterable[BenchTest]) -> None:
        """Free the models that no following test needs. Their contexts must be closed."""
        kept = {_key(test) for test in following if test.workload not in CHAT_TURNS}
        for key in [key for key in self._models if key not in kept]:
            self._models.pop(key)[0].close()
        self._contexts = {}

    def _model(self, test: BenchTest) -> Model:
        key = _key(test)
        if key not in self._models:
            before = _memory_in_use()
            model = load_model(test, self._flag, self._on_load)
            self._models[key] = model, _memory_in_use() - before
        return self._models[key][0]


def _key(test: BenchTest) -> tuple[str, ModelParams]:
    return test.model, model_params(test)


def _memory_in_use() -> _MemoryInUse:
    use = memory_use()
    return _MemoryInUse(use.own if use is not None else 0, _device_memory())


def _device_memory() -> int:
    """Return the bytes in use on all GPUs, by all processes."""
    lib = library()
    used = 0
    for index in range(lib.ggml_backend_dev_count()):
        device = lib.ggml_backend_dev_get(index)
        if lib.ggml_backend_dev_type(device) in _GPU:
            free, total = size_pair()
            lib.ggml_backend_dev_memory(device, reference(free), reference(total))
            used += total.value - free.value
    return used


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
