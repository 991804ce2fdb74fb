"""The provenance of a benchmark, a document that is stored with its rows: machine, build, system and models."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llamacli.bench.measure.params import Machine
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.system import NativeBuild, SystemReport, describe_system
from llamacli.errors import LlamacliError
from llamacli.gguf.model import read_files
from llamacli.gguf.source import FileSource


def describe_origin(build: NativeBuild, models: Iterable[str] = (), *, version: str) -> dict[str, Any]:
    """Return the provenance of a run of llamacli `version` and that build with these model files; sizes are in bytes.

    `machine` and `build` hold nothing that changes from run to run, so that equal documents mean the same machine or build.
    """
    report = describe_system(version, build)
    return {
        "machine": _machine(report),
        "build": {
            "llamacli": report.version,
            "llama_cpp": report.llama_cpp,
            "compiler": report.compiler,
            "target": report.target,
            "backends": [backend.name for backend in report.backends],
        },
        "system": {"platform": report.platform, "python": report.python, "memory_available": report.memory_available},
        "models": {model: facts for model in dict.fromkeys(models) if (facts := _model(model))},
    }


def machine_of(build: NativeBuild) -> Machine:
    """Return the columns of the rows that name the build and the machine."""
    devices = [device for backend in build.backends for device in backend.devices]
    names = [backend.name for backend in build.backends if backend.devices or not backend.name.startswith("RPC")]
    return Machine(
        build_commit=build.commit,
        build_number=0,
        cpu_info=", ".join(device.description for device in devices if device.kind in ("cpu", "accelerator")),
        gpu_info=", ".join(device.description for device in devices if device.kind in ("gpu", "igpu")),
        backends=",".join(name for name in names if name != "CPU") or "CPU",
    )


def _machine(report: SystemReport) -> dict[str, Any]:
    devices = [device for backend in report.backends for device in backend.devices]
    processors = [device for device in devices if device.kind == "cpu"]
    return {
        "cpu": ", ".join(device.description for device in processors),
        "features": sorted(f"{name}={value}" for one in report.backends for name, value in one.features.items()),
        "cores": default_threads(),
        "logical_cpus": report.logical_cpus,
        "memory": max((device.memory for device in processors), default=0),
        "devices": [
            {"name": device.name, "description": device.description, "kind": device.kind, "memory": device.memory}
            for device in devices
            if device.kind != "cpu"
        ],
    }


def _model(path: str) -> dict[str, Any] | None:
    """Return the name, the size and the hash of the header; None for a file that cannot be read."""
    try:
        files = read_files(path)
        with FileSource(files.locations[0]) as source:
            digest = hashlib.sha256(source.read(0, files.header.data_offset)).hexdigest()
    except LlamacliError:
        return None
    return {"name": files.header.text("general.name"), "file": Path(path).name, "size": files.size, "header_sha256": digest}
