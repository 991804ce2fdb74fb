"""A loaded embedding model, and the outcomes of texts behind a progress bar: shared by all of `embed`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llamacli.batch.progress import format_left
from llamacli.cli.embed.options import BatchOptions, VectorOptions
from llamacli.cli.framework.backends import embedding
from llamacli.cli.framework.backends.embedding import DEMO, Vectorizer
from llamacli.cli.framework.backends.engine import DELAY_SECONDS
from llamacli.cli.framework.command import Reread
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ModelOptions, RemoteOptions
from llamacli.engine.embedding.outcome import NotEmbedded, Outcome
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.errors import DownloadError, LlamacliError, RowsFailedError, UsageError
from llamacli.units import counted, out_of

if TYPE_CHECKING:
    from llamacli.backend.child.embedder import ChildEmbedder
    from llamacli.backend.child.params import ChildParams
    from llamacli.backend.cluster.embedder import ClusterEmbedder
    from llamacli.backend.remote.embedder import RemoteEmbedder
    from llamacli.batch.texts import Item, TextSource
    from llamacli.gguf.header import Header

PREFIX_KEY = "adapter.lora.prompt_prefix"
"""The only metadata that names a prefix for texts: the adapters of jina-embeddings have it."""


def demo_instead(app: AppContext, model: ModelOptions, line: Reread) -> str | None:
    """Return the option that selects the demo model, with a note, if the default model is not an embedding model.

    The settings and the environment have one default model for all commands. Return None if it is given on the command line or
    is an embedding model.

    Raises:
        UsageError, ModelError: if the default is not a model.
    """
    if model.model is None or line.given("model"):
        return None
    from llamacli.gguf.model import read_files

    try:
        path = app.find_model(app, model.model, offline=True)
    except DownloadError:
        app.console.note(f"{model.model}, the default, is not on this machine: using {DEMO} (-m selects another model)")
    else:
        if _is_embedding_model(read_files(path).header):
            return None
        app.console.note(f"{path.name}, the default, is not an embedding model: using {DEMO} (-m selects another model)")
    return f"--model={DEMO}"


def _is_embedding_model(header: Header) -> bool:
    architecture = header.architecture
    return bool(header.integer(f"{architecture}.pooling_type")) or header.flag(f"{architecture}.attention.causal") is False


def prefix_for(app: AppContext, given: str | None, model: ModelOptions) -> str:
    """Return the prefix of each text: as given, else the one in the last adapter's metadata."""
    if given is not None or not model.lora:
        return given or ""
    from llamacli.gguf.model import read_files

    prefix = read_files(model.lora[-1].path).header.text(PREFIX_KEY)
    if prefix:
        app.console.note(f"each text gets the prefix {prefix!r}, as the adapter requires (--prefix overrides it)")
    return prefix or ""


@contextmanager
def open_embedder(
    app: AppContext,
    model: ModelOptions,
    context: BatchOptions,
    vectors: VectorOptions,
    child: ChildParams,
    *,
    rank: bool = False,
    while_loading: Callable[[], object] = lambda: None,
) -> Iterator[ChildEmbedder]:
    """Load the model, and close it after the block. With `rank`, pooling is "rank" unless --pooling is given.

    `while_loading`: see `backends.embedding.open_embedder`.
    """
    params = context.params(pooling=vectors.pooling or ("rank" if rank else None))
    with embedding.open_embedder(
        app, model, params, attention=vectors.attention, budget=context.budget, child=child, while_loading=while_loading
    ) as embedder:
        yield embedder


@contextmanager
def open_server(
    app: AppContext, remote: RemoteOptions, model: ModelOptions, vectors: VectorOptions, *, rank: bool = False
) -> Iterator[RemoteEmbedder]:
    """The embedding model of a server, or of several that share the texts.

    Raises:
        UsageError: for what only a model here can do; what `RemoteEmbedder` raises.
    """
    for given, name in ((vectors.pooling, "--pooling"), (vectors.attention, "--attention")):
        if given:
            raise UsageError(f"{name} cannot be used with --url: the server makes the vectors as it was set up to")
    with embedding.open_server(app, remote, model, rank=rank) as embedder:
        yield embedder


@contextmanager
def open_workers(
    app: AppContext,
    address: str,
    model: ModelOptions,
    context: BatchOptions,
    vectors: VectorOptions,
    child: ChildParams,
    *,
    rank: bool = False,
) -> Iterator[ClusterEmbedder]:
    """The embedding models of the workers of a Dask cluster."""
    from llamacli.cli.framework.backends.cluster import open_cluster_embedder

    params = context.params(pooling=vectors.pooling or ("rank" if rank else None))
    with open_cluster_embedder(address, model.model or DEMO, model.params(), params, child, vectors.attention) as embedder:
        for note in embedder.notes:
            app.console.note(note)
        yield embedder


def outcomes(
    app: AppContext,
    embedder: Vectorizer,
    source: TextSource,
    params: EmbeddingParams,
    *,
    rerank: str | None = None,
    before: tuple[int, int] = (0, 0),
) -> Iterator[tuple[Item, Outcome]]:
    """Yield each item with its outcome, in order, behind a progress bar.

    `before` is the number of texts of an earlier run, and of those that failed.

    Raises:
        RowsFailedError: at the end, if some items have no vector, now or before.
    """
    total, failed = before
    first_error = None
    started = time.monotonic()
    with app.progress(delay=DELAY_SECONDS) as bar:

        def show(done: int) -> None:
            source.finish(done)
            elapsed = time.monotonic() - started
            left = format_left(elapsed, source.done, source.total, earlier=source.skipped)
            what = f"embedding {counted(done, 'text')}, {done / max(elapsed, 1e-3):,.0f} texts/s{left}"
            bar.update(what, source.done, source.total)

        texts = source.texts()
        found = (
            embedder.embed(texts, params, on_done=show)
            if rerank is None
            else embedder.rerank(rerank, texts, params, on_done=show)
        )
        for outcome in found:
            total += 1
            if isinstance(outcome, NotEmbedded):
                failed += 1
                first_error = first_error or outcome.error
            yield source.take(outcome.index), outcome
    if failed:
        raise rows_failed(failed, total, first_error)


def rows_failed(failed: int, total: int, first: LlamacliError | None) -> RowsFailedError:
    """Return the error for a run with failed texts. `first` is the first text's error, None if it was in an earlier run."""
    which = "the text has" if total == 1 else f"{out_of(failed, total, 'text')} {'has' if failed == 1 else 'have'}"
    if first is None:
        return RowsFailedError(f"{which} no vector, from an earlier run", failed=failed, total=total)
    reason = first.message if failed == 1 else f"the first: {first.message}"
    return RowsFailedError(f"{which} no vector: {reason}", failed=failed, total=total, hint=first.hint)
