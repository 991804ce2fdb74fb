"""The model of an index: the one that it was made with, opened again."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.embed.options import BatchOptions, EmbeddingModelOptions, VectorOptions
from llamacli.cli.embed.session import open_embedder, open_server
from llamacli.cli.framework.backends.embedding import DEMO
from llamacli.cli.framework.command import Reread
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.index.finder import FinderModels, made_with
from llamacli.cli.framework.options import RemoteOptions, ResidentOptions
from llamacli.cli.framework.parameters import argument
from llamacli.errors import UsageError
from llamacli.store.models.references import is_path
from llamacli.store.vectors.index import VectorIndex

if TYPE_CHECKING:
    from llamacli.cli.framework.backends.embedding import Vectorizer
    from llamacli.engine.embedding.params import EmbeddingParams

DatabaseArgument = Annotated[Path, argument(metavar="DB", help="The index file.")]


def model_of(index: VectorIndex, line: Reread) -> str | None:
    """Return the option that names the index's model, or None if -m is given, which takes precedence.

    The settings and the environment do not take precedence. As if it were given, the option selects the model's settings.
    """
    reference = index.about().get("reference")
    return None if reference is None or line.given("model") else f"--model={reference}"


def vector_options(index: VectorIndex, remote: RemoteOptions) -> VectorOptions:
    """Return the options with which the index's vectors were made. Raises UsageError if it is empty or corrupt."""
    made = made_with(index)
    options = VectorOptions(pooling=made.pooling, attention=made.attention, dims=made.dims)
    return replace(options, pooling=None, attention=None) if remote.url else options  # a server pools as it was set up to


def opened(
    app: AppContext,
    remote: RemoteOptions,
    model: EmbeddingModelOptions,
    context: BatchOptions,
    vectors: VectorOptions,
    resident: ResidentOptions,
) -> AbstractContextManager[Vectorizer]:
    """The model, here or on a server."""
    if remote.url:
        return open_server(app, remote, model, vectors)
    return open_embedder(app, model, context, vectors, resident.child(model))


def finder_models(
    app: AppContext,
    model: EmbeddingModelOptions,
    context: BatchOptions,
    vectors: VectorOptions,
    resident: ResidentOptions,
    remote: RemoteOptions,
    *,
    query_prefix: str,
    reranker: str | None,
) -> FinderModels:
    """Return the models of searches. The reranker is opened where the embedding model is."""

    def open_reranker() -> AbstractContextManager[Vectorizer]:
        named = replace(model, model=reranker)
        if remote.url:
            return open_server(app, remote, named, VectorOptions(), rank=True)
        return open_embedder(app, named, context, VectorOptions(), resident.child(named), rank=True)

    return FinderModels(
        embedder=lambda: opened(app, remote, model, context, vectors, resident),
        reranker=None if reranker is None else open_reranker,
        params=vectors.params(query_prefix),
        is_remote=bool(remote.url),
    )


def require_model(
    index: VectorIndex, embedder: Vectorizer, params: EmbeddingParams, reference: str | None, remote: RemoteOptions
) -> None:
    """Require that the model makes vectors such as the index has. Raises UsageError if it does not."""
    if embedder.pooling == "rank":
        raise UsageError(f"{embedder.name} is a reranking model: it makes scores, not vectors")
    index.require(_settings(embedder, params, reference, remote))


def _settings(embedder: Vectorizer, params: EmbeddingParams, reference: str | None, remote: RemoteOptions) -> dict[str, str]:
    """Return what two sets of vectors must share to be comparable, and the model's names for the user."""
    from llamacli.backend.child.embedder import ChildEmbedder

    if isinstance(embedder, ChildEmbedder):
        reference = _absolute(reference or DEMO, embedder.path)
    return {
        "fingerprint": embedder.fingerprint(),
        "model": embedder.name,
        "reference": reference or embedder.name,
        "server": remote.url[0] if remote.url else "",
        "pooling": embedder.pooling,
        "attention": embedder.attention,
        "dimensions": str(params.dims or embedder.dimension),
        "prefix": params.prefix,
    }


def _absolute(reference: str, path: Path) -> str:
    """Return a reference to the model that is valid in every directory: for a file, its absolute path."""
    return str(path.resolve()) if is_path(reference) or Path(reference).resolve() == path.resolve() else reference
