"""The RPC node of a child."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from llamacli.backend.child.node import CHECK_DEVICES, SERVE_NODE, NodeParams
from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.task import Task
from llamacli.binding.arrays import pointer_array
from llamacli.binding.enums import ggml_backend_dev_type
from llamacli.binding.kernels import KERNELS
from llamacli.binding.library import library
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.loading import device_named


def service() -> dict[Method, Handler]:
    """Return the handlers, with the native library loaded."""
    library()
    return {CHECK_DEVICES: lambda names, _: lent_devices(names) and None, SERVE_NODE: _serve}


def lent_devices(names: tuple[str, ...]) -> list[Any]:
    """Return the devices of these names; without names the GPUs, or the CPU if there are none. Raises UsageError."""
    if names:
        return [device_named(name) for name in names]
    lib = library()
    everything = [lib.ggml_backend_dev_get(index) for index in range(lib.ggml_backend_dev_count())]
    of_cpu = ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU, ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_ACCEL
    gpus = [device for device in everything if lib.ggml_backend_dev_type(device) not in of_cpu]
    return gpus or [device for device in everything if lib.ggml_backend_dev_type(device) == of_cpu[0]]


def _serve(node: NodeParams, _task: Task) -> NoReturn:
    """Serve until this process is ended. The library returns only if it cannot listen, which is the end, too."""
    try:
        lib, devices = library(), lent_devices(node.devices)
        lib.llamacli_choose_kernels(KERNELS[node.kernels])
        lib.ggml_backend_rpc_start_server(
            f"{node.host}:{node.port}".encode(),
            node.cache.encode() if node.cache is not None else None,
            node.threads or default_threads(),
            len(devices),
            pointer_array("ggml_backend_device", devices),
        )
    finally:
        os._exit(1)
