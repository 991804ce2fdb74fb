"""What a sandboxed process reads besides its model, and the exceptions for networks and GPU drivers.

Each list is as narrow as Python, the C library, ggml and the drivers let it be; none holds a user's own files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

_SYSTEM = tuple(
    map(
        Path,
        (
            "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64",
            "/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo",
            "/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat",
            "/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage",
            "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom",
        ),
    )
)  # fmt: skip
"""Shared libraries, time zones, the processor and the memory: what the C library, ggml and `engine.runtime.hardware` read."""

NETWORK = tuple(map(Path, ("/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf")))
"""The exception for RPC: how the C library finds the address of a name."""

GPU = tuple(
    map(
        Path,
        (
            "/proc/devices", "/proc/modules", "/proc/driver/nvidia", "/sys/bus/pci", "/sys/devices/pci0000:00",
            "/sys/module/nvidia", "/sys/class/drm", "/sys/class/kfd", "/sys/devices/virtual/kfd", "/sys/dev/char",
            "/etc/vulkan", "/usr/share/vulkan", "/usr/share/glvnd", "/etc/OpenCL", "/usr/local/cuda", "/opt/cuda", "/opt/rocm",
        ),
    )
)  # fmt: skip
"""The exception for GPU drivers: where CUDA, ROCm and Vulkan find the devices and their own libraries."""


def interpreter_paths() -> Iterator[Path]:
    """Yield what this interpreter needs to go on importing: its library, installed packages, this one, shared libraries."""
    yield Path(os.__file__).parent
    yield Path(sys.base_prefix, "lib")  # libpython and the libraries of a distribution such as conda
    for entry in sys.path:
        if Path(entry).name in ("site-packages", "dist-packages", "lib-dynload") or entry.endswith(".zip"):
            yield Path(entry)
    yield from map(Path, sys.modules["llamacli"].__path__)
    yield from (Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry)
    yield from _SYSTEM


def gpu_devices() -> tuple[Path, ...]:
    """Return the device files of this machine's GPUs."""
    folder = Path("/dev")
    found = [*folder.glob("nvidia*"), *folder.glob("dri/renderD*"), folder / "kfd"]
    return tuple(path for path in found if path.exists())
