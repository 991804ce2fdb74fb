"""An embedding model in a child process, with the interface of `engine.embedding.embedder.Embedder`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.child import Child
from llamacli.backend.child.process.start import ChildOwner, start_child
from llamacli.backend.child.vectors import VectorRequest, embed_again
from llamacli.backend.child.wire.codec import encode
from llamacli.backend.child.wire.method import Method
from llamacli.engine.embedding.params import Attention, EmbeddingParams
from llamacli.engine.params import ContextParams, ModelParams, Pooling
from llamacli.gguf.split import part_names

if TYPE_CHECKING:
    from llamacli.engine.embedding.outcome import Outcome
    from llamacli.engine.embedding.window import Text

SERVICE: Final = "llamacli.backend.child.services.embedder"


@dataclass(frozen=True, slots=True)
class OpenEmbedder:
    """Arguments of `OPEN`."""

    path: str
    model: ModelParams
    context: ContextParams
    attention: Attention | None
    budget: int | None


@dataclass(frozen=True, slots=True)
class OpenedEmbedder:
    """A loaded embedding model. `width` are the numbers in a row of its outcomes."""

    name: str
    pooling: Pooling
    attention: Attention
    limit: int
    dimension: int
    width: int
    notes: tuple[str, ...]


OPEN: Final = Method("open", OpenEmbedder, OpenedEmbedder, items=float)
FINGERPRINT: Final = Method("fingerprint", None, str)
CANCEL: Final = Method("cancel", None)


class ChildEmbedder(ChildOwner):
    """An embedding model in a child, which `start` starts and this object owns: `close()` ends it, and may be called twice.

    When the child dies, a new one tries the texts that were in flight again, one by one; a text that kills twice has no vector.
    A context manager.

    Raises (when built): what `Embedder` raises; EngineDiedError if the child dies meanwhile, as all methods do.
    """

    def __init__(
        self, start: Callable[[], Child], arguments: OpenEmbedder, on_load: Callable[[float], None] | None = None
    ) -> None:
        self._start = start
        self._arguments = arguments
        self._opened: OpenedEmbedder
        self._load(on_load)

    def _load(self, on_load: Callable[[float], None] | None = None) -> Child:
        self._child = self._start()

        def meanwhile() -> None:
            if on_load is not None:
                on_load(0.0)  # the caller may have something to do, before the child needs all cores

        try:
            self._opened = self._child.call(OPEN, self._arguments, on_item=on_load, meanwhile=meanwhile)
        except BaseException:
            self._child.abandon()
            raise
        return self._child

    @property
    def path(self) -> Path:
        """The model's file."""
        return Path(self._arguments.path)

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._child.pid

    @property
    def name(self) -> str:
        """The model's name by its metadata, or its file's name."""
        return self._opened.name

    @property
    def pooling(self) -> Pooling:
        """How the vectors of tokens become one."""
        return self._opened.pooling

    @property
    def attention(self) -> Attention:
        """Whether tokens see those behind them."""
        return self._opened.attention

    @property
    def limit(self) -> int:
        """Tokens of the longest text."""
        return self._opened.limit

    @property
    def dimension(self) -> int:
        """Numbers in a vector of the model."""
        return self._opened.dimension

    @property
    def width(self) -> int:
        """Numbers in a row of an outcome: the dimension, or the number of scores of a reranking model."""
        return self._opened.width

    @property
    def notes(self) -> list[str]:
        """Notes on defaults that the user may not expect."""
        return list(self._opened.notes)

    def fingerprint(self) -> str:
        """Return a hash that differs for other weights, adapters or RoPE parameters."""
        digest: str = self._child.call(FINGERPRINT)
        return digest

    def embed(
        self, texts: Iterable[Text], params: EmbeddingParams | None = None, *, on_done: Callable[[int], None] | None = None
    ) -> Iterator[Outcome]:
        """Return the outcomes of the texts, in order. See `Embedder.embed`."""
        return self._embed(VectorRequest(params), texts, on_done)

    def rerank(
        self, query: str, texts: Iterable[Text], params: EmbeddingParams, *, on_done: Callable[[int], None] | None = None
    ) -> Iterator[Outcome]:
        """Return outcomes with rows that score how well each text answers `query`. See `Embedder.rerank`."""
        return self._embed(VectorRequest(params, query), texts, on_done)

    def _embed(self, request: VectorRequest, texts: Iterable[Text], on_done: Callable[[int], None] | None) -> Iterator[Outcome]:
        def revive() -> Child:
            self._child.close()
            return self._load()

        return embed_again(self._child, revive, request, texts, on_done or (lambda count: None))

    def cancel(self) -> None:
        """End running work at once. Safe from any thread."""
        self._child.tell(CANCEL)


def open_embedder(
    path: Path,
    model: ModelParams,
    context: ContextParams,
    *,
    attention: Attention | None = None,
    budget: int | None = None,
    child: ChildParams | None = None,
    on_load: Callable[[float], None] | None = None,
) -> ChildEmbedder:
    """Load an embedding model in a child. Raises what `ChildEmbedder` raises."""
    reads = [path.with_name(name) for name in part_names(path.name)] + [Path(lora.path) for lora in model.loras]
    arguments = OpenEmbedder(str(path), model, context, attention, budget)
    start = partial(start_child, SERVICE, reads, child or ChildParams(), model=path, identity=encode(arguments))
    return ChildEmbedder(start, arguments, on_load)
