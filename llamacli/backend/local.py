"""The backend that commands and the server open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.backend.child.params import ChildParams
from llamacli.engine.params import ContextParams, ModelParams

if TYPE_CHECKING:
    from llamacli.backend.child.engine import ChildEngine


def open_backend(
    path: Path,
    model: ModelParams,
    context: ContextParams,
    *,
    prefix_bytes: int = 0,
    child: ChildParams | None = None,
    on_load: Callable[[float], None] | None = None,
) -> ChildEngine:
    """Load a model in a child, and return its backend.

    `prefix_bytes` of memory keep evaluated prompts when others take their slots. `on_load` receives the progress, 0.0 to 1.0.

    Raises:
        ModelError, CapacityError: if the model cannot be loaded.
    """
    from llamacli.backend.child.engine import open_engine

    engine = open_engine(path, model, context, child=child, on_load=on_load)
    try:
        if prefix_bytes and engine.describe().can_generate:
            engine.keep_prefixes(prefix_bytes)
    except BaseException:
        engine.close()
        raise
    return engine


def fits_memory(path: Path, model: ModelParams, context: ContextParams) -> bool:
    """Return whether a model fits into the memory that is free now. Raises ModelError if it cannot be read."""
    from llamacli.backend.child.inspection import Inspector

    with Inspector(ChildParams(rpc=model.rpc), [path, *map(Path, model.companions)]) as inspector:
        return inspector.fit(path, model, context).fits
