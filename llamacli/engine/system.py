"""What this machine and this build offer."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

import llamacli
from llamacli.binding import bridge, log
from llamacli.binding.library import library
from llamacli.engine.runtime.hardware import available_memory, default_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device that models can run on. `memory` and `free` in bytes; `kind` is cpu, gpu, igpu, accelerator or meta."""

    name: str
    description: str
    kind: str
    memory: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A backend that was compiled in, the features it was built with or found, and its devices."""

    name: str
    features: Mapping[str, str]
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemReport:
    """The program, the build and the machine. `threads` is what generation uses unless told otherwise."""

    version: str
    python: str
    platform: str
    llama_cpp: str
    compiler: str
    target: str
    libraries: str
    backends: tuple[Backend, ...]
    threads: int
    logical_cpus: int
    memory_available: int | None


def describe_system() -> SystemReport:
    """Asks llama.cpp and the system. Raises LibraryError if the native library is missing."""
    log.route()
    native = bridge.system()
    return SystemReport(
        version=llamacli.__version__,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=platform.platform(),
        llama_cpp=native["commit"],
        compiler=native["compiler"],
        target=native["target"],
        libraries=str(library().folder),
        backends=tuple(
            Backend(
                name=backend["name"],
                features=backend["features"],
                devices=tuple(
                    Device(
                        name=device["name"],
                        description=device["description"],
                        kind=device["type"],
                        memory=device["total"],
                        free=device["free"],
                    )
                    for device in backend["devices"]
                ),
            )
            for backend in native["backends"]
        ),
        threads=default_threads(),
        logical_cpus=os.cpu_count() or 1,
        memory_available=available_memory(),
    )
