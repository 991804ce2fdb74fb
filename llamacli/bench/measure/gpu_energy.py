"""The energy of NVIDIA's GPUs, from NVML: with the package `nvidia-ml-py` (extra `nvml`), where there is such a driver."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any


@functools.cache
def gpu_counters() -> tuple[Callable[[], float], ...]:
    """A function for each GPU that counts its energy: joules since the driver was loaded. None without NVML.

    GPUs before Volta do not count; they are left out.
    """
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError:
        return ()
    counters = (functools.partial(_joules, nvml, handle) for handle in handles)
    return tuple(counter for counter in counters if counter() > 0)


def _joules(nvml: Any, handle: Any) -> float:
    try:
        return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3  # NVML counts millijoules
    except nvml.NVMLError:
        return 0.0
