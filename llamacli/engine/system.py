"""The machine and the build: processors, devices, backends and their features."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
class NativeBuild:
    """The native library: the commit of llama.cpp, compiler, target, folder, and its backends on this machine.

    `kernels`: the instructions that our own kernels use here; empty if they do not support this processor. `media`: the library
    that encodes pictures and sound.
    """

    commit: str
    compiler: str
    target: str
    folder: str
    kernels: str
    media: str
    backends: tuple[Backend, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemReport:
    """The program, the build and the machine. `threads` is the default number for generation; memory is in bytes.

    `kernels`: the instructions that our own kernels use here; empty if they do not support this processor. `media`: the library
    that encodes pictures and sound.
    """

    version: str
    python: str
    platform: str
    llama_cpp: str
    compiler: str
    target: str
    libraries: str
    kernels: str
    media: str
    backends: tuple[Backend, ...]
    threads: int
    logical_cpus: int
    memory_available: int | None


def describe_build() -> NativeBuild:
    """Return the native library of this process, which is loaded if it is not yet.

    Raises:
        LibraryError: if it is missing.
    """
    from llamacli.binding import bridge, log
    from llamacli.binding.library import library

    log.route()
    native = bridge.system()
    return NativeBuild(
        commit=native["commit"],
        compiler=native["compiler"],
        target=native["target"],
        folder=str(library().folder),
        kernels=library().llamacli_kernels_instructions().decode(),
        media=str(library().build.get("media", "")),
        backends=tuple(_backend(document) for document in native["backends"]),
    )


def describe_system(version: str, build: NativeBuild | None = None) -> SystemReport:
    """Return the report of this machine for a program of that version. `build` is known from another process, or None.

    Raises:
        LibraryError: if the native library is missing.
    """
    build = build or describe_build()
    return SystemReport(
        version=version,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=platform.platform(),
        llama_cpp=build.commit,
        compiler=build.compiler,
        target=build.target,
        libraries=build.folder,
        kernels=build.kernels,
        media=build.media,
        backends=build.backends,
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
