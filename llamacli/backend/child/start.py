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

from llamacli.backend.child.launch import Launched, fork_child, spawn_child
from llamacli.errors import EngineError

if TYPE_CHECKING:
    from llamacli.backend.child.params import ChildParams
    from llamacli.backend.child.process import Child

_prepared: dict[str, Launched] = {}
"""Children that wait for work, by service."""


def prepare(service: str) -> None:
    """Fork a child for a service, where that is safe: on Linux, with one thread. If it fails, `start_child` says so."""
    if sys.platform.startswith("linux") and threading.active_count() == 1:
        with contextlib.suppress(EngineError):
            _prepared[service] = fork_child([service])


def start_child(service: str, reads: Sequence[Path], params: ChildParams, *, model: Path | None = None) -> Child:
    """Return a child that offers a service and may read the given files and folders.

    `model` is named in the error about its death.

    Raises:
        EngineError: if the system refuses another process.
    """
    import logging

    from llamacli.backend.child.frames import Start
    from llamacli.backend.child.process import Child

    launched = _prepared.pop(service, None) or spawn_child([service])
    level = logging.getLogger("llamacli").getEffectiveLevel()
    paths = tuple(str(path.resolve()) for path in reads)
    return Child(launched, Start(paths, params.sandbox, level), patience=params.patience, model=model)
