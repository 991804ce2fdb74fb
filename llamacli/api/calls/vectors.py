"""The calls of `Llama` that make vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from llamacli.api.arguments.inputs import TextLike, texts_of
from llamacli.api.arguments.names import argument_names
from llamacli.api.calls.evaluation import Evaluations
from llamacli.errors import CancelledError, ClosedError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.embedding.embedder import Embedder
    from llamacli.engine.embedding.params import Attention, EmbeddingParams
    from llamacli.engine.embedding.window import Text
    from llamacli.engine.params import Pooling
    from llamacli.openai.types import CreateEmbeddingResponse


class Vectors(Evaluations):
    """The calls that make vectors. A base of `Llama`."""

    _embeds: bool
    _pooling: Pooling | None
    _attention: Attention | None

    def create_embedding(
        self,
        input: TextLike | Sequence[TextLike],  # noqa: A002
        model: str | None = None,
    ) -> CreateEmbeddingResponse:
        """Return the vectors of one text or several, or of token ids, in OpenAI's form, each of length 1.

        The object must be made with `embedding=True`; `pooling_type` is the model's own unless given. With "none", each
        `embedding` is a list of vectors, one for each token.

        Raises:
            UsageError: if it was made without `embedding=True`, or an item is neither a text nor a list of token ids.
            ContextFullError: if a text is longer than the model allows.
        """
        from llamacli.engine.embedding.params import EmbeddingParams

        with argument_names():
            vectors, tokens = self._vectors(texts_of(input), EmbeddingParams())
        return {
            "object": "list",
            "model": model or self._name,
            "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    @overload
    def embed(
        self,
        input: TextLike | Sequence[TextLike],
        normalize: bool = False,
        truncate: bool = True,
        return_count: Literal[False] = False,
    ) -> Any: ...

    @overload
    def embed(
        self,
        input: TextLike | Sequence[TextLike],
        normalize: bool = False,
        truncate: bool = True,
        *,
        return_count: Literal[True],
    ) -> tuple[Any, int]: ...

    def embed(
        self,
        input: TextLike | Sequence[TextLike],  # noqa: A002
        normalize: bool = False,
        truncate: bool = True,
        return_count: bool = False,
    ) -> Any:
        """Return the vector of a text, or a list of the vectors of several; with pooling "none" a list of vectors for each.

        `normalize` gives each the length 1. `truncate` cuts off what is longer than the model allows, where it is an error
        otherwise. With `return_count` a pair is returned: the vectors, and the number of evaluated tokens.
        """
        from llamacli.engine.embedding.params import EmbeddingParams

        params = EmbeddingParams(normalize="l2" if normalize else "none", overflow="truncate" if truncate else "error")
        texts = texts_of(input)
        with argument_names():
            vectors, tokens = self._vectors(texts, params)
        is_one = isinstance(input, str) or (bool(input) and not isinstance(next(iter(input)), Iterable))
        found = vectors[0] if is_one else vectors
        return (found, tokens) if return_count else found

    def _vectors(self, texts: list[Text], params: EmbeddingParams) -> tuple[list[Any], int]:
        """Return the vectors of texts as lists, and the number of evaluated tokens."""
        from llamacli.engine.embedding.outcome import NotEmbedded

        embedder, rows, tokens = self._embedder(), [], 0
        try:
            for outcome in embedder.embed(texts, params):
                if isinstance(outcome, NotEmbedded):
                    raise outcome.error
                vectors = outcome.rows.tolist()
                rows.append(vectors if embedder.pooling == "none" else vectors[0])
                tokens += outcome.tokens
        except CancelledError as error:
            if self._closed:
                raise ClosedError("this Llama is closed") from error
            raise
        return rows, tokens

    def _embedder(self) -> Embedder:
        if not self._embeds:
            raise UsageError("this Llama was made without embedding=True", parameter="embedding")
        return self.engine.embedder(self._pooling, self._attention)
