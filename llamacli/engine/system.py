"""The machine and the build: processors, devices, backends and their features."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    """A backend of the build, its compiled or detected features, and its devices."""

    name: str
    features: Mapping[str, str]
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemReport:
    """The program, the build and the machine. `threads` is the default number for generation; memory is in bytes.

    `kernels`: the instructions that our own kernels use here; empty if they do not support this processor.
    """

    version: str
    python: str
    platform: str
    llama_cpp: str
    compiler: str
    target: str
    libraries: str
    kernels: str
    backends: tuple[Backend, ...]
    threads: int
    logical_cpus: int
    memory_available: int | None


def describe_system(version: str) -> SystemReport:
    """Return the report of this machine for a program of that version.

    Raises:
        LibraryError: if the native library is missing.
    """
    log.route()
    native = bridge.system()
    return SystemReport(
        version=version,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=platform.platform(),
        llama_cpp=native["commit"],
        compiler=native["compiler"],
        target=native["target"],
        libraries=str(library().folder),
        kernels=library().llamacli_kernels_instructions().decode(),
        backends=tuple(_backend(document) for document in native["backends"]),
        threads=default_threads(),
        logical_cpus=os.cpu_count() or 1,
        memory_available=available_memory(),
    )


def _backend(document: Mapping[str, Any]) -> Backend:
    devices = tuple(
        Device(
            name=device["name"],
            description=device["description"],
            kind=device["type"],
            memory=device["total"],
            free=device["free"],
        )
        for device in document["devices"]
    )
    return Backend(name=document["name"], features=document["features"], devices=devices)
