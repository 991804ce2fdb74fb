"""The model that makes vectors, on this machine or on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from llamacli.cli.framework.backends.engine import DELAY_SECONDS
from llamacli.cli.framework.backends.remote import open_clients, remote_name
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ModelOptions, RemoteOptions
from llamacli.engine.embedding.params import Attention
from llamacli.engine.params import ContextParams

if TYPE_CHECKING:
    from llamacli.backend.child.embedder import ChildEmbedder
    from llamacli.backend.child.params import ChildParams
    from llamacli.backend.cluster.embedder import ClusterEmbedder
    from llamacli.backend.remote.embedder import RemoteEmbedder

Vectorizer: TypeAlias = "ChildEmbedder | RemoteEmbedder | ClusterEmbedder"
"""What makes vectors: a child process, a server, or a cluster."""

DEMO = "minilm"
"""The default model."""


@contextmanager
def open_embedder(
    app: AppContext,
    model: ModelOptions,
    context: ContextParams,
    *,
    attention: Attention | None = None,
    budget: int | None = None,
    child: ChildParams,
    while_loading: Callable[[], object] = lambda: None,
) -> Iterator[ChildEmbedder]:
    """Load the model in a child, and close it after the block.

    `while_loading` is called as long as the child loads it, for imports that need not wait for it.
    """
    path = app.find_model(app, model.model or DEMO, offline=model.offline)
    from llamacli.backend.child.embedder import open_embedder as open_in_child

    with app.progress(delay=DELAY_SECONDS) as bar:

        def on_load(share: float) -> None:
            while_loading()
            bar.update(f"loading {path.name}", share, 1.0)

        embedder = open_in_child(
            path,
            model.params(),
            context,
            attention=attention,
            budget=budget,
            child=child,
            on_load=on_load,
        )
    with embedder:
        for note in embedder.notes:
            app.console.note(note)
        yield embedder


@contextmanager
def open_server(app: AppContext, remote: RemoteOptions, model: ModelOptions, *, rank: bool = False) -> Iterator[RemoteEmbedder]:
    """The embedding model of a server, or of several that share the texts. Raises what `RemoteEmbedder` raises."""
    from llamacli.backend.remote.access import closed_on_error
    from llamacli.backend.remote.embedder import RemoteEmbedder

    clients = open_clients(app, remote, model.engine_timeout)
    with closed_on_error(clients):
        embedder = RemoteEmbedder(clients, remote_name(model.model), rank=rank)
    with embedder:
        yield embedder
