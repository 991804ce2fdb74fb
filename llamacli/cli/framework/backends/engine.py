"""The model of a command, loaded here or answering at an address."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llamacli.backend.child.params import ChildParams
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ModelOptions, RemoteOptions
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend

logger = logging.getLogger(__name__)

DELAY_SECONDS = 0.5
"""Seconds of loading or prefill before a progress bar shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSetup:
    """The model, and how it is loaded, or the servers that have it. `strict`: what they cannot do is an error."""

    model: ModelOptions
    params: ModelParams
    context: ContextParams
    child: ChildParams
    remote: RemoteOptions
    strict: bool = False


@contextmanager
def open_backend(app: AppContext, setup: ModelSetup, while_loading: Callable[[], None]) -> Iterator[Backend]:
    """The engine with the model loaded, with a progress bar if that takes more than a moment; signals cancel what it does.

    `while_loading` is called as long as C reads the weights, for imports that need not wait for it.
    """
    if setup.remote.url:
        from llamacli.cli.framework.backends.remote import open_remote

        with app.interrupts.guard() as guard, open_remote(app, setup.remote, setup.model, strict=setup.strict) as remote:
            guard.cancel = remote.cancel
            yield remote
        return
    path = app.find_model(app, setup.model.model, offline=setup.model.offline)
    with app.interrupts.guard() as guard:
        with app.progress(delay=DELAY_SECONDS) as bar:

            def on_load(share: float) -> None:
                while_loading()
                bar.update(f"loading {path.name}", share, 1.0)

            engine = app.open_engine(path, setup.params, setup.context, child=setup.child, on_load=on_load)
        with engine:
            guard.cancel = engine.cancel
            if engine.recommended_sampling:
                named = ", ".join(f"{name} {value}" for name, value in engine.recommended_sampling.items())
                logger.info("the model recommends: %s (used where no option says otherwise)", named)
            yield engine
