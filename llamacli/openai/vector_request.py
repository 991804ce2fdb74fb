"""`/v1/embeddings` and `/v1/rerank`: from documents to texts, from vectors and scores to documents."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llamacli.engine.embedding.params import EmbeddingParams, Normalization
from llamacli.errors import UsageError
from llamacli.openai.fields import Fields
from llamacli.openai.response import Document
from llamacli.openai.text_request import is_tokens, read_text

if TYPE_CHECKING:
    from llamacli.engine.embedding.outcome import Embedded

MOST_TEXTS = 65536

_NORMALIZATIONS: dict[int, Normalization] = {-1: "none", 0: "max", 1: "taxicab", 2: "l2"}
"""llama-server's `embd_normalize`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """Texts, or their tokens, and how they become vectors; `as_base64`: of little-endian 32-bit floats."""

    texts: tuple[str | tuple[int, ...], ...]
    params: EmbeddingParams
    as_base64: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """A query and the texts that may answer it; `top` are returned, with their texts if `returns_texts`."""

    query: str
    texts: tuple[str, ...]
    top: int | None
    returns_texts: bool


def read_embeddings(document: Any) -> EmbeddingRequest:
    """Read a request of `/v1/embeddings`. Raises UsageError, whose `parameter` names the field at fault."""
    fields = Fields(document)
    texts = _texts(fields, "input")
    form = fields.choice("encoding_format", ("float", "base64"))
    norm = fields.integer("embd_normalize", low=-1, high=2)
    dimensions = fields.integer("dimensions", low=1)
    fields.value("model")
    fields.text("user")
    fields.finish()
    params = EmbeddingParams(dims=dimensions, normalize=_NORMALIZATIONS[2 if norm is None else norm])
    return EmbeddingRequest(texts=texts, params=params, as_base64=form == "base64")


def read_native_embedding(document: Any) -> EmbeddingRequest:
    """Read a request of llama-server's `/embedding`. Raises as `read_embeddings`."""
    fields = Fields(document)
    texts = _texts(fields, "input" if "input" in fields else "content")
    norm = fields.integer("embd_normalize", low=-1, high=2)
    fields.value("model")
    fields.finish()
    params = EmbeddingParams(normalize=_NORMALIZATIONS[2 if norm is None else norm])
    return EmbeddingRequest(texts=texts, params=params, as_base64=False)


def _texts(fields: Fields, name: str) -> tuple[str | tuple[int, ...], ...]:
    """The texts of a field: one or several, or their tokens."""
    given = fields.value(name)
    if given is None:
        raise fields.fault(name, "is missing")
    items = given if isinstance(given, list) and not is_tokens(given) else [given]
    if not items or len(items) > MOST_TEXTS:
        raise fields.fault(name, f"must hold from 1 to {MOST_TEXTS} texts")
    return tuple(read_text(item, fields, name) for item in items)


def embeddings_document(outcomes: Sequence[Embedded], request: EmbeddingRequest, model: str) -> Document:
    """Return the document of vectors, in the order of the texts."""
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(outcome, as_base64=request.as_base64)}
        for index, outcome in enumerate(outcomes)
    ]
    return {"object": "list", "data": data, "model": model, "usage": _usage(outcomes)}


def _vector(outcome: Embedded, *, as_base64: bool) -> Any:
    if not as_base64:
        return outcome.rows.tolist()[0]
    _, columns = outcome.rows.shape
    return base64.b64encode(outcome.little_endian[: 4 * columns]).decode()


def read_rerank(document: Any) -> RerankRequest:
    """Read a request of `/v1/rerank`, as Jina, Cohere and TEI write it. Raises UsageError."""
    fields = Fields(document)
    query = fields.required_text("query")
    name = "texts" if "texts" in fields else "documents"
    given = fields.value(name)
    if not isinstance(given, list) or not given:
        raise fields.fault(name, "must be a list of at least one text")
    texts = tuple(_document_text(fields, name, item) for item in given)
    top = fields.integer("top_n", low=1)
    returns = fields.flag("return_documents") or fields.flag("return_text")
    fields.value("model")
    fields.finish()
    return RerankRequest(query=query, texts=texts, top=top, returns_texts=returns)


def _document_text(fields: Fields, name: str, item: Any) -> str:
    text = item.get("text") if isinstance(item, dict) else item
    if not isinstance(text, str):
        raise UsageError(f"{fields.name(name)} must hold texts, or objects with a text", parameter=fields.name(name))
    return text


def rerank_document(outcomes: Sequence[Embedded], request: RerankRequest, model: str) -> Document:
    """Return the document of scores, the best text first."""
    scores = sorted(((outcome.rows.tolist()[0][0], index) for index, outcome in enumerate(outcomes)), reverse=True)
    results = [
        {
            "index": index,
            "relevance_score": score,
            **({"document": {"text": request.texts[index]}} if request.returns_texts else {}),
        }
        for score, index in scores[: request.top]
    ]
    return {"object": "list", "model": model, "results": results, "usage": _usage(outcomes)}


def _usage(outcomes: Sequence[Embedded]) -> Document:
    tokens = sum(outcome.tokens for outcome in outcomes)
    return {"prompt_tokens": tokens, "total_tokens": tokens}
