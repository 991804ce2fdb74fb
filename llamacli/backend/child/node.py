"""An RPC node in a child: it lends the devices of this machine to programs on others."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.start import ChildOwner, start_child
from llamacli.backend.child.wire.method import Method
from llamacli.backend.rpc import Node, ask_node
from llamacli.engine.params import Kernels
from llamacli.errors import EngineError, RemoteError

SERVICE: Final = "llamacli.backend.child.services.node"

_START_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParams:
    """Where a node listens (an IPv4 address), and what it lends.

    `devices`: names as `info --system` lists them; empty means the GPUs, or the CPU if there are none. `threads` and `kernels`
    are those of the CPU. `cache`: a folder that keeps large tensors, so that they need not be sent again.
    """

    host: str
    port: int
    devices: tuple[str, ...] = ()
    threads: int | None = None
    kernels: Kernels = "own"
    cache: str | None = None


CHECK_DEVICES: Final = Method("check_devices", tuple[str, ...])
SERVE_NODE: Final = Method("serve_node", NodeParams)


class NodeProcess(ChildOwner):
    """A node that runs in a child. `close()` ends it. A context manager.

    Raises (when built):
        EngineError: if it does not start.
    """

    def __init__(self, node: NodeParams, params: ChildParams) -> None:
        folder = Path(node.cache) if node.cache is not None else None
        self._child = start_child(SERVICE, [], params, listens=True, folder=folder)
        try:
            self._child.call(CHECK_DEVICES, node.devices)
            self._child.tell(SERVE_NODE, node)
            self.description = self._when_ready(node)
        except BaseException:
            self._child.close()
            raise

    def _when_ready(self, node: NodeParams) -> Node:
        """Return what the node says of itself as soon as it answers."""
        latest = time.monotonic() + _START_SECONDS
        while True:
            try:
                return ask_node(node.host, node.port)
            except RemoteError as error:
                if (end := self._child.wait_for_end(_POLL_SECONDS)) is not None:
                    raise end from None
                if time.monotonic() > latest:
                    raise EngineError(f"the RPC node does not start: {error.message}") from error

    def wait(self, seconds: float) -> Exception | None:
        """Wait so long at most, and return why the child has ended; None if it has not."""
        return self._child.wait_for_end(seconds)
