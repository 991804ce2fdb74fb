"""llama-server's own formats: of completions, in which editors receive what fills a gap, of vectors and of slots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from llamacli.engine.events import Answer, Piece
from llamacli.openai import response

if TYPE_CHECKING:
    from llamacli.engine.embedding.outcome import Embedded

_STOP_TYPES = {"stop": "eos", "length": "limit", "context": "limit", "cancelled": "none"}

_MISSING: Final = object()


def native_document(
    answer: Answer, model: str, *, content: str | None = None, shown: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the document of a whole answer, or the last chunk of one, which has no `content` of its own.

    `shown` are the fields that are wanted, by their paths: `timings/prompt_ms` becomes a field of this name. None is all.
    """
    stop_type = "word" if answer.stop_text is not None else _STOP_TYPES[answer.finish_reason]
    document = {
        "index": answer.index,
        "content": answer.content if content is None else content,
        "model": model,
        "stop": True,
        "stop_type": stop_type,
        "stopping_word": answer.stop_text or "",
        "tokens_predicted": answer.usage.completion_tokens,
        "tokens_evaluated": answer.usage.prompt_tokens,
        "tokens_cached": answer.usage.cached_tokens,
        "truncated": False,
        "timings": response.timings(answer.timings, answer.usage),
    }
    if answer.tokens and content is None:
        document["completion_probabilities"] = response.chat_logprobs(answer.tokens)["content"]
    return document if shown is None else dict(_chosen(document, shown))


def _chosen(document: dict[str, Any], paths: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The paths that lead to a value, with it."""
    for path in paths:
        value: Any = document
        for key in path.split("/"):
            value = value.get(key, _MISSING) if isinstance(value, dict) else _MISSING
        if value is not _MISSING:
            yield path, value


def native_chunk(event: Piece | Answer, model: str, shown: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Return the chunk of an event, None if it has no text. `shown` are the fields of the last one (see `native_document`)."""
    if isinstance(event, Answer):
        return native_document(event, model, content="", shown=shown)
    content = "".join(delta.content for delta in event.deltas)
    chunk: dict[str, Any] = {"index": event.index, "content": content, "stop": False}
    if event.token is not None and event.token.logprob is not None:
        return {**chunk, "completion_probabilities": response.chat_logprobs([event.token])["content"]}
    return chunk if content else None


def native_embeddings(outcomes: Sequence[Embedded]) -> list[dict[str, Any]]:
    """Return the document of vectors, in the order of the texts."""
    return [{"index": index, "embedding": outcome.rows.tolist()} for index, outcome in enumerate(outcomes)]


def slots_document(count: int, busy: int, n_ctx: int) -> list[dict[str, Any]]:
    """Return the document of slots, `busy` of which answer: the first ones, as no request is bound to one."""
    return [{"id": number, "n_ctx": n_ctx, "is_processing": number < busy} for number in range(count)]
