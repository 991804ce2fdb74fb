"""The peak rates of a device: of reading memory, and of ggml's matrix products.

The fastest pass counts, as in STREAM (McCalpin, "Memory bandwidth and machine balance in current high performance computers",
1995): disturbances only make a measurement slower. Memory is read from a buffer far larger than the caches. Products are those
of the chosen kernels, with weights as they are when a model is loaded for these: llama.cpp repacks some types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llamacli.bench.roofline.ceiling import CPU, PROMPT_TOKENS, Ceiling, Rate
from llamacli.binding import log
from llamacli.binding.library import library
from llamacli.binding.throughput import Products, read_memory
from llamacli.engine.params import Kernels
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.hardware import available_memory
from llamacli.engine.runtime.loading import interruptible
from llamacli.errors import LlamacliError

READING_SECONDS, PRODUCT_SECONDS = 1.0, 0.3

_CACHE_MULTIPLE = 8
_LEAST_BUFFER, _MOST_BUFFER = 256 << 20, 4 << 30
_CPUS = Path("/sys/devices/system/cpu")
_UNKNOWN_CACHE = 32 << 20
_SIDE, _GPU_SIDE = 2048, 8192  # of the square matrices: enough work for all the units
_CACHED_SIDE, _CACHED_REPEAT = 1024, 32  # a matrix that stays in the nearest caches
_GPU_MATRICES = 8


def measure_ceiling(device: str, threads: int, types: Sequence[str], cancel: CancelFlag, kernels: Kernels = "own") -> Ceiling:
    """Measure a device. Types that it cannot multiply are left out.

    Raises:
        MemoryFullError: if there is too little memory for the buffer.
        CancelledError: if `cancel` was set.
    """
    is_cpu = device == CPU
    reading = _reading(threads, cancel) if is_cpu else _device_reading(device, threads, cancel)
    rates = {}
    for name in types:
        try:
            rates[name] = _rate(device, name, threads, cancel, kernels)
        except LlamacliError:
            cancel.check()
    description = device_description(device)
    return Ceiling(device=device, description=description, threads=threads, reading=reading, rates=rates, kernels=kernels)


def device_description(name: str) -> str:
    """Return llama.cpp's description of the device, such as the name of the CPU."""
    lib = library()
    found = lib.ggml_backend_dev_by_name(name.encode())
    return str(lib.ggml_backend_dev_description(found).decode(errors="replace")) if found else name


def seconds_of(products: Products, threads: int, seconds: float, cancel: CancelFlag) -> list[float]:
    """Run products and return the seconds of each pass. Raises CancelledError if `cancel` was set."""
    found = interruptible(lambda: products.run(threads, seconds, cancel.handle), cancel)
    cancel.check()
    return found


def product_request(type_name: str, columns: int, rows: int, count: int = 1, **mixture: int) -> dict[str, Any]:
    """Return the shim's description of one kind of matrices."""
    return {"type": ggml_name(type_name), "columns": columns, "rows": rows, "count": count, **mixture}


def ggml_name(type_name: str) -> str:
    """Return ggml's spelling of a tensor type: `q4_0`, but `q4_K`."""
    return type_name[:-2].lower() + "_K" if type_name.endswith("_K") else type_name.lower()


def cache_size(cpus: Path = _CPUS) -> int:
    """Return the bytes of all last-level caches together; a guess if the system does not report them."""
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
    """Return the size of the buffer to read: far larger than the caches, at most a quarter of the free memory."""
    free = available_memory() or 4 * _MOST_BUFFER
    return max(1 << 20, min(max(_LEAST_BUFFER, _CACHE_MULTIPLE * cache_size()), _MOST_BUFFER, free // 4))


def _reading(threads: int, cancel: CancelFlag) -> float:
    size, passes = interruptible(lambda: read_memory(threads, buffer_size(), READING_SECONDS, cancel.handle), cancel)
    cancel.check()
    return size / min(passes)


def _device_reading(device: str, threads: int, cancel: CancelFlag) -> float:
    """Measure the reading rate of a GPU by products with one token, which do little else than read."""
    request = product_request("F16", _GPU_SIDE, _GPU_SIDE, _GPU_MATRICES)
    with _opened(device, request, 1) as products:
        return float(products.description["bytes"]) / min(seconds_of(products, threads, READING_SECONDS, cancel))


def _rate(device: str, type_name: str, threads: int, cancel: CancelFlag, kernels: Kernels) -> Rate:
    side, small, repeat = (_SIDE, _CACHED_SIDE, _CACHED_REPEAT) if device == CPU else (_GPU_SIDE, _SIDE, _CACHED_REPEAT)
    speeds = []
    for tokens, length, times in ((PROMPT_TOKENS, side, 1), (1, small, repeat)):
        with _opened(device, product_request(type_name, length, length), tokens, times, kernels) as products:
            passes = seconds_of(products, threads, PRODUCT_SECONDS, cancel)
            speeds.append(float(products.description["operations"]) / min(passes))
            buffer = next(iter(products.description["buffers"].values()))
    return Rate(type=type_name, prompt=speeds[0], single=speeds[1], buffer=buffer)


def _opened(device: str, request: Mapping[str, Any], tokens: int, repeat: int = 1, kernels: Kernels = "own") -> Products:
    with log.complaints():
        return Products(device, [request], tokens, repeat, kernels=kernels)


def _bytes_of(text: str) -> int:
    return int(text[:-1]) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[text[-1]]
