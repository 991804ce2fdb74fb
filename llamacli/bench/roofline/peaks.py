"""What a device can do at most: how fast it reads memory, and how fast ggml multiplies with it.

The fastest pass counts, as in STREAM (McCalpin, "Memory bandwidth and machine balance in current high performance computers",
1995): whatever disturbs a measurement makes it slower. Memory is read from a buffer far larger than the caches. Products are
ggml's own, with weights in the buffers that llama.cpp would give them, so that a type that is rearranged when a model is loaded
is measured rearranged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llamacli.binding import log
from llamacli.binding.library import library
from llamacli.binding.throughput import Products, read_memory
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.hardware import available_memory, default_threads
from llamacli.engine.runtime.loading import interruptible
from llamacli.errors import LlamacliError

PROMPT_TOKENS = 512
"""Columns of the products that stand for reading a prompt."""

CPU = "CPU"
READING_SECONDS, PRODUCT_SECONDS = 1.0, 0.3

LOST = 0.1
"""A speed with more threads below such a part of that with fewer was lost to other programs."""

_CACHE_MULTIPLE = 8
_LEAST_BUFFER, _MOST_BUFFER = 256 << 20, 4 << 30
_CPUS = Path("/sys/devices/system/cpu")
_UNKNOWN_CACHE = 32 << 20
_SIDE, _GPU_SIDE = 2048, 8192  # of the square matrices: enough work for all the units
_CACHED_SIDE, _CACHED_REPEAT = 1024, 32  # a matrix that stays in the nearest caches
_GPU_MATRICES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast a type is multiplied, in operations per second: with many tokens, and with one where memory does not matter.

    `buffer` is llama.cpp's name for where such weights lie; CPU_REPACK is rearranged for the CPU.
    """

    type: str
    prompt: float
    single: float
    buffer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What one device can do with so many threads. `reading` in bytes per second; `rates` by the type's name in capitals.

    `lost` names the figures that say nothing, as other programs had the cores: `reading`, and `prompt` or `single` after a
    type's name.
    """

    device: str
    description: str
    threads: int
    reading: float
    rates: Mapping[str, Rate]
    lost: frozenset[str] = frozenset()

    def figures(self) -> dict[str, float]:
        """All speeds, by the names that `lost` has."""
        found = {"reading": self.reading}
        for name, rate in self.rates.items():
            found |= {f"{name} prompt": rate.prompt, f"{name} single": rate.single}
        return found


def measure_ceiling(device: str, threads: int, types: Sequence[str], cancel: CancelFlag) -> Ceiling:
    """Measures a device. Types that it cannot multiply are left out.

    Raises:
        MemoryFullError: there is too little memory even for this.
        CancelledError: `cancel` was set.
    """
    is_cpu = device == CPU
    reading = _reading(threads, cancel) if is_cpu else _device_reading(device, threads, cancel)
    rates = {}
    for name in types:
        try:
            rates[name] = _rate(device, name, threads, cancel)
        except LlamacliError:
            cancel.check()
    return Ceiling(device=device, description=device_description(device), threads=threads, reading=reading, rates=rates)


def without_lost(ceiling: Ceiling, fewer: Iterable[Ceiling]) -> Ceiling:
    """The ceiling with what was lost marked, by what the same device did with fewer threads.

    Threads beyond the cores are slow by themselves: of these nothing can be told.
    """
    lost: set[str] = set()
    if ceiling.threads <= default_threads():
        for other in fewer:
            least = {name: LOST * speed for name, speed in other.figures().items()}
            lost |= {name for name, speed in ceiling.figures().items() if speed < least.get(name, 0.0)}
    return replace(ceiling, lost=frozenset(lost))


def faster_of(first: Ceiling, second: Ceiling) -> Ceiling:
    """The faster of each figure of two measurements of one device: whatever disturbs makes slower."""
    rates = dict(second.rates)
    for name, rate in first.rates.items():
        other = rates.get(name, rate)
        rates[name] = replace(rate, prompt=max(rate.prompt, other.prompt), single=max(rate.single, other.single))
    return replace(first, reading=max(first.reading, second.reading), rates=rates)


def device_description(name: str) -> str:
    """What llama.cpp calls the device, such as the name of the CPU."""
    lib = library()
    found = lib.ggml_backend_dev_by_name(name.encode())
    return str(lib.ggml_backend_dev_description(found).decode(errors="replace")) if found else name


def seconds_of(products: Products, threads: int, seconds: float, cancel: CancelFlag) -> list[float]:
    """How long each pass took. Raises CancelledError."""
    found = interruptible(lambda: products.run(threads, seconds, cancel.handle), cancel)
    cancel.check()
    return found


def product_request(type_name: str, columns: int, rows: int, count: int = 1, **mixture: int) -> dict[str, Any]:
    """One kind of matrices as the shim wants it."""
    return {"type": ggml_name(type_name), "columns": columns, "rows": rows, "count": count, **mixture}


def ggml_name(type_name: str) -> str:
    """The tensor type as ggml itself spells it: `q4_0`, but `q4_K`."""
    return type_name[:-2].lower() + "_K" if type_name.endswith("_K") else type_name.lower()


def cache_size(cpus: Path = _CPUS) -> int:
    """Bytes in all caches of the last level together; a guess where the system does not tell."""
    shared: dict[str, tuple[int, int]] = {}
    for index in cpus.glob("cpu[0-9]*/cache/index*"):
        try:
            level, size, sharers = ((index / name).read_text().strip() for name in ("level", "size", "shared_cpu_list"))
            shared[f"{level}:{sharers}"] = (int(level), _bytes_of(size))
        except (OSError, ValueError):
            continue
    last = max((level for level, _ in shared.values()), default=0)
    return sum(size for level, size in shared.values() if level == last) or _UNKNOWN_CACHE


def buffer_size() -> int:
    """Bytes to read from: far more than the caches hold, and not more than a quarter of the memory that is free."""
    free = available_memory() or 4 * _MOST_BUFFER
    return max(1 << 20, min(max(_LEAST_BUFFER, _CACHE_MULTIPLE * cache_size()), _MOST_BUFFER, free // 4))


def _reading(threads: int, cancel: CancelFlag) -> float:
    size, passes = interruptible(lambda: read_memory(threads, buffer_size(), READING_SECONDS, cancel.handle), cancel)
    cancel.check()
    return size / min(passes)


def _device_reading(device: str, threads: int, cancel: CancelFlag) -> float:
    """Of a GPU nothing but products can be measured: those with one token do little else than read."""
    request = product_request("F16", _GPU_SIDE, _GPU_SIDE, _GPU_MATRICES)
    with _opened(device, request, 1) as products:
        return float(products.description["bytes"]) / min(seconds_of(products, threads, READING_SECONDS, cancel))


def _rate(device: str, type_name: str, threads: int, cancel: CancelFlag) -> Rate:
    side, small, repeat = (_SIDE, _CACHED_SIDE, _CACHED_REPEAT) if device == CPU else (_GPU_SIDE, _SIDE, _CACHED_REPEAT)
    speeds = []
    for tokens, length, times in ((PROMPT_TOKENS, side, 1), (1, small, repeat)):
        with _opened(device, product_request(type_name, length, length), tokens, times) as products:
            passes = seconds_of(products, threads, PRODUCT_SECONDS, cancel)
            speeds.append(float(products.description["operations"]) / min(passes))
            buffer = next(iter(products.description["buffers"].values()))
    return Rate(type=type_name, prompt=speeds[0], single=speeds[1], buffer=buffer)


def _opened(device: str, request: Mapping[str, Any], tokens: int, repeat: int = 1) -> Products:
    with log.complaints():
        return Products(device, [request], tokens, repeat)


def _bytes_of(text: str) -> int:
    return int(text[:-1]) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[text[-1]]
