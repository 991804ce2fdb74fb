"""Vectors and scores of texts, made by a server in batches."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from llamacli.backend.remote.client import Client, RefusedError
from llamacli.backend.remote.server import check_document
from llamacli.engine.embedding.outcome import Embedded, NotEmbedded, Outcome
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.errors import CapacityError, EngineError, LlamacliError, RemoteError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.embedding.vectors import Matrix
    from llamacli.engine.embedding.window import Text

BATCH = 64
"""Texts in one request."""

_NEEDS_TOKENS = "needs the model's vocabulary, which the server does not tell"

Ask = Callable[[Sequence[str]], list[Outcome]]
"""From texts to their outcomes, numbered from 0."""


def embed(
    client: Client,
    model: str,
    texts: Iterable[Text],
    params: EmbeddingParams | None,
    on_done: Callable[[int], None] = lambda _: None,
) -> Iterator[Outcome]:
    """Yield the vectors of each text, in order.

    Raises:
        UsageError: for parameters that need the model's vocabulary.
        RemoteError: if the server cannot be reached or fails.
    """
    wanted = params or EmbeddingParams()
    check_params(wanted)
    return _in_batches(texts, wanted.prefix, lambda batch: _vectors(client, model, batch, wanted), on_done)


def rerank(
    client: Client,
    model: str,
    query: str,
    texts: Iterable[Text],
    params: EmbeddingParams | None,
    on_done: Callable[[int], None] = lambda _: None,
) -> Iterator[Outcome]:
    """Yield the scores of each text as an answer to `query`, in order. Raises as `embed`."""
    wanted = params or EmbeddingParams()
    check_params(wanted)
    return _in_batches(texts, wanted.prefix, lambda batch: _scores(client, model, query, batch), on_done)


def check_params(params: EmbeddingParams) -> None:
    """Raise UsageError for parameters that a server cannot follow."""
    if params.overflow != "error" or params.chunk is not None:
        raise UsageError(f"cutting texts {_NEEDS_TOKENS}", hint="a text that is too long is an error")


def _in_batches(texts: Iterable[Text], prefix: str, ask: Ask, on_done: Callable[[int], None]) -> Iterator[Outcome]:
    iterator, done = iter(texts), 0
    while batch := list(islice(iterator, BATCH)):
        for place, outcome in enumerate(_outcomes(batch, prefix, ask)):
            yield _numbered(outcome, done + place)
        done += len(batch)
        on_done(done)


def _outcomes(batch: Sequence[Text], prefix: str, ask: Ask) -> list[Outcome]:
    """The outcomes of a batch; if the server refuses it, each text is asked alone, so that one does not fail the others."""
    good = [(place, prefix + text) for place, text in enumerate(batch) if isinstance(text, str)]
    found: dict[int, Outcome] = {
        place: NotEmbedded(place, text if isinstance(text, LlamacliError) else UsageError(f"a text in tokens {_NEEDS_TOKENS}"))
        for place, text in enumerate(batch)
        if not isinstance(text, str)
    }
    try:
        answered = ask([text for _, text in good]) if good else []
    except (UsageError, CapacityError) as error:
        if error.parameter == "url":
            raise
        answered = [NotEmbedded(0, error)] if len(good) == 1 else [_alone(ask, text) for _, text in good]
    found.update({place: outcome for (place, _), outcome in zip(good, answered, strict=True)})
    return [found[place] for place in range(len(batch))]


def _alone(ask: Ask, text: str) -> Outcome:
    try:
        return ask([text])[0]
    except (UsageError, CapacityError) as error:
        return NotEmbedded(0, error)


def _numbered(outcome: Outcome, index: int) -> Outcome:
    if isinstance(outcome, NotEmbedded):
        return NotEmbedded(index, outcome.error)
    return Embedded(index, outcome.vectors, outcome.row_tokens, outcome.truncated)


def _vectors(client: Client, model: str, texts: Sequence[str], params: EmbeddingParams) -> list[Outcome]:
    """The vectors of texts, normalized and shortened here, so that every server's come out alike."""
    from llamacli.engine.embedding import vectors as arithmetic  # imports NumPy

    document = _post(client, "embeddings", {"model": model, "input": list(texts), "encoding_format": "base64"})
    items = _sorted(client, document.get("data"), len(texts))
    tokens = _tokens(document, len(texts))
    found: list[Outcome] = []
    for place, item in enumerate(items):
        matrix = _matrix(client, item.get("embedding"))
        try:
            ready = arithmetic.finish(matrix, normalize=params.normalize, dims=params.dims)
        except EngineError as error:
            found.append(NotEmbedded(place, error))
        else:
            found.append(Embedded(place, ready, (tokens[place],)))
    return found


def _scores(client: Client, model: str, query: str, texts: Sequence[str]) -> list[Outcome]:
    import numpy as np

    document = _post(client, "rerank", {"model": model, "query": query, "documents": list(texts)})
    items = _sorted(client, document.get("results"), len(texts))
    tokens = _tokens(document, len(texts))
    scores = [item.get("relevance_score", item.get("score")) for item in items]
    if not all(isinstance(score, int | float) for score in scores):
        raise RemoteError(f"{client} answered with something other than scores")
    return [Embedded(place, np.array([[score]], np.float32), (tokens[place],)) for place, score in enumerate(scores)]


def _post(client: Client, name: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return check_document(client.post(f"{client.address.api}/{name}", document), str(client))
    except RefusedError as refused:
        raise client.error(refused) from refused


def _sorted(client: Client, items: Any, count: int) -> list[Mapping[str, Any]]:
    """The items of an answer in the order of the texts. Raises RemoteError unless there is one for each."""
    by_index = {item.get("index"): item for item in items if isinstance(item, Mapping)} if isinstance(items, list) else {}
    if set(by_index) != set(range(count)):
        raise RemoteError(f"{client} did not answer for each text")
    return [by_index[place] for place in range(count)]


def _matrix(client: Client, vector: Any) -> Matrix:
    """One row of 32-bit floats, from base64 or from a list of numbers."""
    import numpy as np

    try:
        if isinstance(vector, str):
            row = np.frombuffer(base64.b64decode(vector, validate=True), "<f4").astype(np.float32)
        else:
            row = np.asarray(vector, np.float32)
    except (binascii.Error, TypeError, ValueError, OverflowError):
        row = np.empty(0, np.float32)
    if row.ndim != 1 or not row.size:
        raise RemoteError(f"{client} answered with something other than vectors")
    return row[np.newaxis]


def _tokens(document: Mapping[str, Any], count: int) -> list[int]:
    """The tokens of each text: the server tells those of all."""
    usage = document.get("usage")
    total = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    total = total if isinstance(total, int) and total > 0 else 0
    return [total // count + (place < total % count) for place in range(count)]
