"""An engine in the test's own process, for tests that watch or replace a part of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llamacli.backend.child.params import ChildParams
from llamacli.engine.engine import Engine
from llamacli.engine.params import ContextParams, ModelParams


def open_in_process(
    path: Path,
    model: ModelParams,
    context: ContextParams,
    *,
    child: ChildParams | None = None,
    on_load: Callable[[float], None] | None = None,
) -> Engine:
    """Stand in for `cli.framework.context.open_engine`."""
    return Engine(path, model, context, on_load=on_load)
