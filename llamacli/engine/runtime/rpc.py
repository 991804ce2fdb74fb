"""Devices of RPC nodes in llama.cpp's registry.

A node stays registered for the rest of the process, so that a model that does not name it must leave its devices out. From then
on `llama_supports_gpu_offload` is true. What a node does not answer ends this process: it has to be one that may die.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llamacli.binding.enums import ggml_backend_dev_type
from llamacli.binding.library import address_of, library
from llamacli.errors import EngineError

_registered: dict[str, list[Any]] = {}
"""The devices of each node."""

_IDLE, _INTERVAL, _PROBES = 5, 5, 3
"""A connection is probed after so many seconds of silence, so often, and lost after so many probes without an answer."""


def register_nodes(addresses: Sequence[str]) -> None:
    """Add the devices of these nodes to the registry. Raises EngineError if one has none."""
    lib = library()
    for address in addresses:
        if address in _registered:
            continue
        found = lib.ggml_backend_rpc_add_server(address.encode())
        if not found:
            raise EngineError(f"the RPC node {address} has no devices")
        lib.ggml_backend_register(found)
        _registered[address] = [lib.ggml_backend_reg_dev_get(found, i) for i in range(lib.ggml_backend_reg_dev_count(found))]


def devices_of(addresses: Sequence[str]) -> list[Any] | None:
    """Return the devices that a model on these nodes may use, its nodes' first; None if those are all that there are."""
    if set(_registered) == set(addresses):
        return None
    lib = library()
    of_nodes = {device for devices in _registered.values() for device in map(address_of, devices)}
    everything = [lib.ggml_backend_dev_get(index) for index in range(lib.ggml_backend_dev_count())]
    gpus = ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_GPU, ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_IGPU
    local = [one for one in everything if lib.ggml_backend_dev_type(one) in gpus and address_of(one) not in of_nodes]
    return [device for address in addresses for device in _registered[address]] + local


def watch_connections(addresses: Sequence[str]) -> None:
    """Have the system notice a node whose machine or network is gone: its connections end after 20 seconds. Linux only."""
    if not sys.platform.startswith("linux"):
        return
    ports = {int(address.rpartition(":")[2]) for address in addresses}
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError, ValueError):
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as connection:
                if connection.family == socket.AF_INET and connection.getpeername()[1] in ports:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, (_IDLE + _INTERVAL * _PROBES) * 1000)
