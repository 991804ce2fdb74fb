"""What holds the models and contexts of the tests that take turns, and knows what each of them costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llamacli.bench.measure.end_to_end import ReadyTalk
from llamacli.bench.measure.monitor import mapped_bytes, memory_use
from llamacli.bench.measure.params import BenchTest, Machine, ModelFacts
from llamacli.bench.measure.token_test import Ready, ReadyTest, context_params, load_model, model_facts, model_params
from llamacli.binding import bridge, log
from llamacli.binding.arrays import reference, size_pair
from llamacli.binding.enums import ggml_backend_dev_type
from llamacli.binding.library import library
from llamacli.engine.params import ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import cache_bytes
from llamacli.engine.runtime.model import Model

_GPU = (ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_GPU, ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_IGPU)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a test's model is and what the test costs: milliseconds, and bytes as if it had run alone (None: not known)."""

    facts: ModelFacts
    load_ms: float
    host: int | None
    device: int | None


@dataclass(frozen=True, slots=True)
class _Held:
    """Memory in bytes: the process's own, and on GPUs."""

    own: int
    device: int

    def __sub__(self, other: _Held) -> _Held:
        return _Held(max(0, self.own - other.own), max(0, self.device - other.device))

    def __add__(self, other: _Held) -> _Held:
        return _Held(self.own + other.own, self.device + other.device)


class Rig:
    """Makes tests ready. Tests of one file, loaded in the same way, share the model."""

    def __init__(self, cancel: CancelFlag, on_load: Callable[[float], None] | None = None) -> None:
        log.route()
        self._cancel = cancel
        self._on_load = on_load
        self._models: dict[tuple[str, ModelParams], tuple[Model, _Held]] = {}
        self._before: dict[int, _Held] = {}
        self._contexts: dict[int, _Held] = {}
        self._base = memory_use()

    def make_ready(self, test: BenchTest) -> Ready:
        """Loads what the test needs. `take_note` belongs after its warm-up, `discard` after a failure.

        Raises:
            LlamacliError: it cannot be made ready.
        """
        if test.workload == "end-to-end":
            before = _held()
            ready: Ready = ReadyTalk(test, self._cancel, self._on_load)
        else:
            model = self._model(test)
            before = _held()
            ready = ReadyTest(test, model)
        self._before[id(ready)] = before
        return ready

    def take_note(self, ready: Ready) -> None:
        """Measures the memory that the test has taken by now."""
        self._contexts[id(ready)] = _held() - self._before.pop(id(ready))

    @contextmanager
    def growing(self, ready: Ready) -> Iterator[None]:
        """What the block takes more counts for the test that was noted."""
        before = _held()
        yield
        self._contexts[id(ready)] += _held() - before

    def discard(self, ready: Ready | None) -> None:
        """Frees a test that failed before its first repetition."""
        if ready is not None:
            self._before.pop(id(ready), None)
            ready.close()

    def footprint(self, ready: Ready) -> Footprint:
        """What is known of a test that was noted."""
        context = self._contexts[id(ready)]
        model, held = (ready.engine.model, _Held(0, 0)) if isinstance(ready, ReadyTalk) else self._models[_key(ready.test)]
        host = None
        if self._base is not None:
            host = self._base.own + self._base.mapped + held.own + context.own + mapped_bytes(model.path)
        has_gpu = bool(library().llama_supports_gpu_offload())
        return Footprint(model_facts(model), model.load_ms, host, held.device + context.device if has_gpu else None)

    def expected_bytes(self, test: BenchTest) -> int:
        """Roughly what the test will take beside those that are ready: its file unless it is loaded, its cache and buffers."""
        needed = max((held.own for held in self._contexts.values()), default=0)
        loaded = self._models.get(_key(test))
        if loaded is None or test.workload == "end-to-end":
            return needed + _size(Path(test.model))
        params = context_params(test)
        return needed + cache_bytes(loaded[0], params) * (params.n_ctx or 0) * test.n_parallel

    def drop_models(self, following: Iterable[BenchTest]) -> None:
        """Frees the models that none of these tests needs. Their contexts must have been closed."""
        kept = {_key(test) for test in following if test.workload != "end-to-end"}
        for key in [key for key in self._models if key not in kept]:
            self._models.pop(key)[0].close()
        self._contexts = {}

    def _model(self, test: BenchTest) -> Model:
        key = _key(test)
        if key not in self._models:
            before = _held()
            model = load_model(test, self._cancel, self._on_load)
            self._models[key] = model, _held() - before
        return self._models[key][0]


def describe_machine() -> Machine:
    """The build and the machine. Raises LibraryError if the native library is missing."""
    log.route()
    native = bridge.system()
    devices = [device for backend in native["backends"] for device in backend["devices"]]
    names = [backend["name"] for backend in native["backends"] if backend["devices"] or not backend["name"].startswith("RPC")]
    return Machine(
        build_commit=native["commit"],
        build_number=0,
        cpu_info=", ".join(device["description"] for device in devices if device["type"] in ("cpu", "accelerator")),
        gpu_info=", ".join(device["description"] for device in devices if device["type"] in ("gpu", "igpu")),
        backends=",".join(name for name in names if name != "CPU") or "CPU",
    )


def _key(test: BenchTest) -> tuple[str, ModelParams]:
    return test.model, model_params(test)


def _held() -> _Held:
    use = memory_use()
    return _Held(use.own if use is not None else 0, _device_memory())


def _device_memory() -> int:
    """Bytes in use on all GPUs, by whomever."""
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
