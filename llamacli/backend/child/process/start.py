"""Children for work: the one that was forked at the start of the program, else a new one.

`prepare` forks while the process is small and has one thread, so that the child imports and loads the native library beside
the parent's own start. It needs little: this module is imported before everything else.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.backend.child.process.launch import Launched, fork_child, spawn_child
from llamacli.errors import EngineError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from llamacli.backend.child.params import ChildParams
    from llamacli.backend.child.process.child import Child
    from llamacli.backend.child.wire.frames import Network, Start

_prepared: dict[str, Launched] = {}
"""Children that wait for work, by service."""


class ChildOwner:
    """What works through a child, and owns it. A context manager; `close()` may be called twice."""

    _child: Child

    @property
    def is_alive(self) -> bool:
        """False once the child has ended."""
        return self._child.is_alive

    def close(self) -> None:
        """End the child."""
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def prepare(service: str, *, may_join: bool = False) -> None:
    """Fork a child for a service, where that is safe: on Linux, with one thread. If it fails, `start_child` says so.

    `may_join`: if engines stay on this machine, one of them will probably do the work. Then none is forked, because that costs
    a tenth of the time to the first token.
    """
    if sys.platform.startswith("linux") and threading.active_count() == 1 and not (may_join and _has_residents()):
        with contextlib.suppress(EngineError):
            _prepared[service] = fork_child([service])


def _has_residents() -> bool:
    from llamacli.store.files.paths import runtime_dir

    return any(runtime_dir().glob("*.sock"))


def start_child(
    service: str,
    reads: Sequence[Path],
    params: ChildParams,
    *,
    model: Path | None = None,
    writes: Sequence[Path] = (),
    identity: bytes = b"",
    host: str | None = None,
    listens: bool = False,
    folder: Path | None = None,
) -> Child:
    """Return a child that offers a service and may read the given files and folders, and write the given files, which exist.

    `model` is named in the error about its death. With `params.keep_alive` a resident child is joined or started, which must be
    equal in the model's file, the service and `identity`. Before that, an idle one of the service `host` with the same model's
    file is joined: it offers this service, too. With `listens` the child takes connections over TCP. In `folder` it may make
    files.

    Raises:
        EngineError: if the system refuses another process, it cannot stay, or a node of `params.rpc` does not answer.
    """
    import logging

    from llamacli.backend.child.process.child import Child
    from llamacli.backend.child.wire.frames import Start

    level = logging.getLogger("llamacli").getEffectiveLevel()
    readable, writable = (tuple(str(path.resolve()) for path in paths) for paths in (reads, writes))
    keep_alive = params.keep_alive if model is not None and not writes else None
    network: Network = "listen" if listens else "connect" if params.rpc else "none"
    start = Start(readable, params.sandbox, level, keep_alive, writable, network, str(folder.resolve()) if folder else None)
    if start.keep_alive is None or model is None:
        return Child(_launched(service, params), start, patience=params.patience, model=model, nodes=params.rpc)
    return _resident_child(service, start, start.keep_alive, params, model, identity, host)


def _resident_child(
    service: str, start: Start, keep_alive: float, params: ChildParams, model: Path, identity: bytes, host: str | None
) -> Child:
    """Return a child that was there, or one that stays from now on."""
    from llamacli.backend.child.process import resident
    from llamacli.backend.child.process.child import Child

    stamp = resident.stamp_of(model, params.sandbox)
    key = resident.key_of(stamp, service, identity)
    if (joined := (resident.join_idle(stamp, host) if host else None) or resident.join(key)) is not None:
        child = Child(joined, start, patience=params.patience, model=model, nodes=params.rpc)
        if child.wait_until_ready():
            _dismiss(service)
            return child
        child.close()  # it has just died
    settling = resident.settling(key, stamp=stamp, model=model, service=service, keep_alive=keep_alive)
    with settling as (listener, place):
        settled = place.take(_launched(service, params))
        descriptors = [listener.fileno()]
        return Child(settled, start, patience=params.patience, model=model, nodes=params.rpc, descriptors=descriptors)


def _launched(service: str, params: ChildParams) -> Launched:
    if params.rpc:
        from llamacli.backend.rpc import check_nodes

        check_nodes(params.rpc)
    return _prepared.pop(service, None) or spawn_child([service])


def _dismiss(service: str) -> None:
    """End the child that waits for work: a resident does it."""
    waiting = _prepared.pop(service, None)
    if waiting is not None:
        waiting.connection.close()
        waiting.stderr.close()
        with contextlib.suppress(RuntimeError):  # no more threads
            threading.Thread(target=waiting.wait, name="llamacli-dismissed", daemon=True).start()
