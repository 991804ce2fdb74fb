"""Vectors and scores of texts, made by a server in batches."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from llamacli.backend.remote.client import RETRIES, Client, RefusedError
from llamacli.backend.remote.dispatch import Dispatch, Progress
from llamacli.backend.remote.pool import Endpoint, Pool
from llamacli.backend.remote.problem import MalformedError
from llamacli.backend.remote.server import check_document
from llamacli.engine.embedding.outcome import Embedded, NotEmbedded, Outcome
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.errors import CancelledError, CapacityError, EngineError, LlamacliError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.embedding.vectors import Matrix
    from llamacli.engine.embedding.window import Text

BATCH = 64
"""Texts in one request."""

_NEEDS_TOKENS = "needs the model's vocabulary, which the server does not tell"

WINDOW = 64
"""Requests that may be ahead of the first one that has not ended."""

Ask = Callable[[Endpoint, Sequence[str], Progress], list[Outcome]]
"""From texts to their outcomes, numbered from 0."""

OnDone = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Texts of one request, numbered from `first` on."""

    place: int
    first: int
    texts: tuple[Text, ...]


def embed(
    pool: Pool,
    texts: Iterable[Text],
    params: EmbeddingParams | None,
    *,
    is_cancelled: Callable[[], bool],
    on_done: OnDone = lambda _: None,
) -> Iterator[Outcome]:
    """Yield the vectors of each text, in order, made by whichever server of the pool is fastest.

    Raises:
        UsageError: for parameters that need the model's vocabulary.
        RemoteError: if no server can be reached, or they fail.
        CancelledError: if somebody has ended it.
    """
    wanted = params or EmbeddingParams()
    check_params(wanted)

    def ask(endpoint: Endpoint, batch: Sequence[str], progress: Progress) -> list[Outcome]:
        return _vectors(endpoint, batch, wanted, progress)

    return _in_batches(pool, texts, wanted.prefix, ask, is_cancelled, on_done)


def rerank(
    pool: Pool,
    query: str,
    texts: Iterable[Text],
    params: EmbeddingParams | None,
    *,
    is_cancelled: Callable[[], bool],
    on_done: OnDone = lambda _: None,
) -> Iterator[Outcome]:
    """Yield the scores of each text as an answer to `query`, in order. Raises as `embed`."""
    wanted = params or EmbeddingParams()
    check_params(wanted)

    def ask(endpoint: Endpoint, batch: Sequence[str], progress: Progress) -> list[Outcome]:
        return _scores(endpoint, query, batch, progress)

    return _in_batches(pool, texts, wanted.prefix, ask, is_cancelled, on_done)


def length_of(endpoint: Endpoint) -> int:
    """Return the length of a server's vectors. Raises UsageError if it makes none, RemoteError if it fails."""
    params = EmbeddingParams(normalize="none")
    try:
        (outcome,) = _vectors(endpoint, ["dimension"], params, Progress(), retries=RETRIES)
    except RefusedError as refused:
        raise endpoint.client.error(refused) from refused
    if isinstance(outcome, NotEmbedded):
        raise outcome.error
    assert isinstance(outcome, Embedded)
    return outcome.rows.shape[1]


def check_params(params: EmbeddingParams) -> None:
    """Raise UsageError for parameters that a server cannot follow."""
    if params.overflow != "error" or params.chunk is not None:
        raise UsageError(f"cutting texts {_NEEDS_TOKENS}", hint="a text that is too long is an error")


def _in_batches(
    pool: Pool, texts: Iterable[Text], prefix: str, ask: Ask, is_cancelled: Callable[[], bool], on_done: OnDone
) -> Iterator[Outcome]:
    """Yield the outcomes in order, though the batches end in any order."""
    ended: dict[int, tuple[_Batch, list[Outcome]]] = {}
    due = 0

    def batches() -> Iterator[_Batch | None]:
        iterator, first, place = iter(texts), 0, 0
        while batch := tuple(islice(iterator, BATCH)):
            while place - due >= WINDOW:
                yield None
            yield _Batch(place, first, batch)
            first, place = first + len(batch), place + 1

    def work(endpoint: Endpoint, batch: _Batch, progress: Progress) -> list[Outcome]:
        return _outcomes(endpoint, batch.texts, prefix, ask, progress)

    dispatch: Dispatch[_Batch, list[Outcome]] = Dispatch(pool, work, most=None, is_cancelled=is_cancelled)
    for one in dispatch.stream(batches()):
        if isinstance(one.done, Exception):
            raise one.done
        ended[one.task.place] = one.task, one.done
        while due in ended:
            batch, outcomes = ended.pop(due)
            due += 1
            for place, outcome in enumerate(outcomes):
                yield _numbered(outcome, batch.first + place)
            on_done(batch.first + len(outcomes))
    if is_cancelled():
        raise CancelledError("cancelled")


def _outcomes(endpoint: Endpoint, batch: Sequence[Text], prefix: str, ask: Ask, progress: Progress) -> list[Outcome]:
    """The outcomes of a batch; if the server refuses it, each text is asked alone, so that one does not fail the others."""
    good = [(place, prefix + text) for place, text in enumerate(batch) if isinstance(text, str)]
    found: dict[int, Outcome] = {
        place: NotEmbedded(place, text if isinstance(text, LlamacliError) else UsageError(f"a text in tokens {_NEEDS_TOKENS}"))
        for place, text in enumerate(batch)
        if not isinstance(text, str)
    }
    try:
        answered = ask(endpoint, [text for _, text in good], progress) if good else []
    except RefusedError as refused:
        error = _own_error(endpoint, refused)
        answered = [NotEmbedded(0, error)] if len(good) == 1 else [_alone(endpoint, ask, text, progress) for _, text in good]
    found.update({place: outcome for (place, _), outcome in zip(good, answered, strict=True)})
    return [found[place] for place in range(len(batch))]


def _alone(endpoint: Endpoint, ask: Ask, text: str, progress: Progress) -> Outcome:
    try:
        return ask(endpoint, [text], progress)[0]
    except RefusedError as refused:
        return NotEmbedded(0, _own_error(endpoint, refused))


def _own_error(endpoint: Endpoint, refused: RefusedError) -> LlamacliError:
    """The error of a text that a server refuses. Raises the refusal if it is not about the texts."""
    error = endpoint.client.error(refused)
    if not isinstance(error, UsageError | CapacityError) or error.parameter == "url":
        raise refused
    return error


def _numbered(outcome: Outcome, index: int) -> Outcome:
    if isinstance(outcome, NotEmbedded):
        return NotEmbedded(index, outcome.error)
    return Embedded(index, outcome.rows, outcome.row_tokens, outcome.truncated)


def _vectors(
    endpoint: Endpoint, texts: Sequence[str], params: EmbeddingParams, progress: Progress, *, retries: int = 0
) -> list[Outcome]:
    """The vectors of texts, normalized and shortened here, so that every server's come out alike."""
    from llamacli.engine.embedding import vectors as arithmetic  # imports NumPy

    client = endpoint.client
    document = _post(endpoint, "embeddings", {"input": list(texts), "encoding_format": "base64"}, progress, retries)
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


def _scores(endpoint: Endpoint, query: str, texts: Sequence[str], progress: Progress) -> list[Outcome]:
    import numpy as np

    client = endpoint.client
    document = _post(endpoint, "rerank", {"query": query, "documents": list(texts)}, progress)
    items = _sorted(client, document.get("results"), len(texts))
    tokens = _tokens(document, len(texts))
    scores = [item.get("relevance_score", item.get("score")) for item in items]
    if not all(isinstance(score, int | float) for score in scores):
        raise MalformedError(f"{client} answered with something other than scores")
    return [Embedded(place, np.array([[score]], np.float32), (tokens[place],)) for place, score in enumerate(scores)]


def _post(
    endpoint: Endpoint, name: str, document: Mapping[str, Any], progress: Progress, retries: int = 0
) -> Mapping[str, Any]:
    """The answer of an endpoint. In a dispatch, that tries again, not the client."""
    client = endpoint.client
    response = client.open(f"{client.address.api}/{name}", {"model": endpoint.info.model, **document}, retries=retries)
    progress.headers = response.headers
    return check_document(client.document(response), str(client))


def _sorted(client: Client, items: Any, count: int) -> list[Mapping[str, Any]]:
    """The items of an answer in the order of the texts. Raises RemoteError unless there is one for each."""
    by_index = {item.get("index"): item for item in items if isinstance(item, Mapping)} if isinstance(items, list) else {}
    if set(by_index) != set(range(count)):
        raise MalformedError(f"{client} did not answer for each text")
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
        raise MalformedError(f"{client} answered with something other than vectors")
    return row[np.newaxis]


def _tokens(document: Mapping[str, Any], count: int) -> list[int]:
    """The tokens of each text: the server tells those of all."""
    usage = document.get("usage")
    total = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    total = total if isinstance(total, int) and total > 0 else 0
    return [total // count + (place < total % count) for place in range(count)]
