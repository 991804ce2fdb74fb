"""One request and its answers: the document out, the events of answers in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from llamacli.backend.remote.client import RETRIES, RefusedError
from llamacli.backend.remote.dispatch import Progress
from llamacli.backend.remote.pool import Endpoint
from llamacli.backend.remote.problem import read_refusal
from llamacli.backend.remote.sse import read_event_groups
from llamacli.backend.remote.transport import Response
from llamacli.backend.remote.turn import RemoteTurn
from llamacli.engine.events import AnswerEvent, FinishReason
from llamacli.engine.params import GenerationParams
from llamacli.errors import CancelledError, InvalidJSONError, LlamacliError, RemoteError
from llamacli.json_text import parse_json
from llamacli.openai.client.answer import AnswerReader, joined
from llamacli.openai.client.request import Draft, add_generation

logger = logging.getLogger(__name__)

OnLack = Callable[[str], None]
"""Called with a parameter that the server cannot use, before the request; it warns once, or raises UsageError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked of a server: answers number `indexes` to a turn. `is_cancelled` says whether somebody has ended it."""

    turn: RemoteTurn
    params: GenerationParams
    on_lack: OnLack
    is_cancelled: Callable[[], bool]
    on_open: Callable[[Endpoint, Response], None] = lambda endpoint, response: None
    indexes: Sequence[int] = (0,)
    retries: int = RETRIES


def exchange(endpoint: Endpoint, order: Order, progress: Progress) -> Generator[AnswerEvent, None, None]:
    """Yield the events of an order.

    Raises:
        RemoteError: if the server cannot be reached, fails, or breaks off.
        RefusedError: if it refuses the request.
        UsageError: if `on_lack` does not accept what the server cannot do.
    """
    left = list(order.indexes)
    while left:
        asked = left[:1] if "n" in endpoint.refused else left
        left = left[len(asked) :]
        reader = AnswerReader(asked, keeps_tokens=order.params.logprobs is not None)
        yield from _asked(endpoint, order, reader, asked, progress)
        if missing := [number for number in reader.unbegun if len(asked) > 1]:
            endpoint.refused.add("n")  # it made one answer, and said nothing
            left = missing + left


def _asked(
    endpoint: Endpoint, order: Order, reader: AnswerReader, asked: Sequence[int], progress: Progress
) -> Iterator[AnswerEvent]:
    try:
        response = _opened(endpoint, order, asked)
        order.on_open(endpoint, response)
        progress.headers = response.headers
        with closing(response):
            for documents in _documents(endpoint, response):
                for piece in joined(piece for document in documents for piece in reader.feed(document)):
                    if reader.lacks_logprobs and not progress.has_begun:
                        order.on_lack("logprobs")
                    progress.has_begun = True
                    yield piece
    except (RemoteError, CancelledError):
        if not order.is_cancelled():
            raise
        yield from reader.cut("cancelled")
        return
    if order.is_cancelled():
        yield from reader.cut("cancelled")
        return
    if not reader.is_whole or not (reader.has_begun or reader.ended()):
        raise RemoteError(f"{endpoint.client} broke off its answer")
    if reader.withheld:
        logger.warning("%s has withheld the rest of the answer (content_filter)", endpoint.client)
    yield from reader.ended()


def _opened(endpoint: Endpoint, order: Order, asked: Sequence[int]) -> Response:
    """The response, after as many tries as there are fields that the server turns out not to know."""
    body = _body(endpoint, order, asked)
    path = f"{endpoint.client.address.api}/{order.turn.path}"
    while True:
        for name in endpoint.refused.missing(body):
            order.on_lack(name)
        sent = endpoint.refused.fitting(body)
        try:
            return endpoint.client.open(path, sent, retries=order.retries)
        except RefusedError as refused:
            if not endpoint.refused.learn(refused.refusal, sent):
                raise


def _body(endpoint: Endpoint, order: Order, asked: Sequence[int]) -> dict[str, Any]:
    draft = Draft(extended=endpoint.info.dialect == "llama", body={"model": endpoint.info.model, **order.turn.body})
    params, before = order.params, asked[0] - order.indexes[0]
    seed = params.sampling.seed
    if seed is not None and before:
        params = replace(params, sampling=replace(params.sampling, seed=(seed + before) % 2**32))
    add_generation(draft, params, is_chat=order.turn.is_chat)
    for name in (*order.turn.lacks, *draft.lacks):
        order.on_lack(name)
    draft.body |= {"stream": True, "stream_options": {"include_usage": True}}
    if len(asked) > 1:
        draft.body["n"] = len(asked)
    return draft.body


def _documents(endpoint: Endpoint, response: Response) -> Iterator[list[Mapping[str, Any]]]:
    """The chunks of a stream, those that came together in a list, or the one document of a server that does not stream."""
    if not response.is_stream:
        yield [document] if (document := _document(endpoint, response.body())) is not None else []
        return
    groups = read_event_groups(response.portions())
    for texts in groups:
        is_last = "[DONE]" in texts
        found: list[Mapping[str, Any]] = []
        try:
            for text in texts[: texts.index("[DONE]")] if is_last else texts:
                if (document := _document(endpoint, text)) is not None:
                    found.append(document)  # noqa: PERF401  # an error leaves those before it
        except LlamacliError:
            yield found  # what came before the error
            raise
        yield found
        if is_last:
            for _ in groups:  # to the end of the response, so that the connection can be used again
                pass
            return


def _document(endpoint: Endpoint, text: str | bytes) -> Mapping[str, Any] | None:
    """A chunk, or a whole document; None for other JSON. Raises RemoteError for anything else, or the error that it reports."""
    try:
        document = parse_json(text, source=str(endpoint.client))
    except InvalidJSONError as error:
        raise RemoteError(f"the answer of {error.message}", hint="is this the address of a model server?") from error
    if not isinstance(document, Mapping):
        return None
    if document.get("error"):
        inner = document["error"]
        status = inner.get("code") if isinstance(inner, Mapping) else None
        raise endpoint.client.error_of(read_refusal(status if isinstance(status, int) else 500, document))
    return document


def cut_answers(indexes: Sequence[int], reason: FinishReason) -> Iterator[AnswerEvent]:
    """Yield empty answers that ended for a reason."""
    yield from AnswerReader(indexes, keeps_tokens=False).cut(reason)
