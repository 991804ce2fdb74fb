"""The cluster of `--dask`: a model for its workers, from the options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.framework.backends.remote import remote_name
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.store.models.references import is_path

if TYPE_CHECKING:
    from llamacli.backend.child.params import ChildParams
    from llamacli.backend.cluster.embedder import ClusterEmbedder
    from llamacli.backend.cluster.engine import ClusterEngine
    from llamacli.backend.cluster.worker import ModelSpec
    from llamacli.engine.embedding.params import Attention


def open_cluster(
    address: str,
    reference: str | None,
    model: ModelParams,
    context: ContextParams,
    child: ChildParams,
    *,
    finds_projector: bool = False,
) -> ClusterEngine:
    """Return the engines of a cluster. `finds_projector`: workers look for a projector of the model.

    Raises UsageError, RemoteError, and what loading the model on a worker raises.
    """
    from llamacli.backend.cluster.cluster import Cluster
    from llamacli.backend.cluster.engine import ClusterEngine

    cluster = Cluster(address)
    try:
        spec = replace(_spec(address, reference or "demo", model, context, child), finds_projector=finds_projector)
        return ClusterEngine(cluster, spec)
    except BaseException:
        cluster.close()
        raise


def open_cluster_embedder(
    address: str,
    reference: str,
    model: ModelParams,
    context: ContextParams,
    child: ChildParams,
    attention: Attention | None,
) -> ClusterEmbedder:
    """Return the embedding models of a cluster. Raises as `open_cluster`."""
    from llamacli.backend.cluster.cluster import Cluster
    from llamacli.backend.cluster.embedder import ClusterEmbedder

    cluster = Cluster(address)
    try:
        spec = replace(_spec(address, reference, model, context, child), attention=attention, embeds=True)
        return ClusterEmbedder(cluster, spec)
    except BaseException:
        cluster.close()
        raise


def _spec(address: str, reference: str, model: ModelParams, context: ContextParams, child: ChildParams) -> ModelSpec:
    """The model for workers: a file by its absolute path, which they share, anything else by its name, which each fetches."""
    from llamacli.backend.cluster.cluster import threads_for
    from llamacli.backend.cluster.worker import ModelSpec

    name = remote_name(reference) or reference
    if is_path(name) or Path(name).is_file():
        name = str(Path(name).expanduser().resolve())
    model = replace(
        model,
        mmproj=str(Path(model.mmproj).resolve()) if model.mmproj is not None else None,
        draft_model=str(Path(model.draft_model).resolve()) if model.draft_model is not None else None,
    )
    if context.threads is None:
        context = replace(context, threads=threads_for(address))
    return ModelSpec(reference=name, model=model, context=context, child=replace(child, keep_alive=None))
