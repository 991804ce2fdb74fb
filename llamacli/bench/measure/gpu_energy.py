"""Energy of NVIDIA GPUs, from NVML: needs the package `nvidia-ml-py` (extra `nvml`) and the driver."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any


@functools.cache
def gpu_counters() -> tuple[Callable[[], float], ...]:
    """Return a counter for each GPU: a function that returns its joules since the driver was loaded. Empty without NVML.

    GPUs before Volta have no counter and are left out.
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
