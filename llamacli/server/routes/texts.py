"""Texts as vectors, scores, tokens and prompts: `/v1/embeddings`, `/v1/rerank`, `/tokenize`, `/apply-template` and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.errors import LlamacliError, UsageError
from llamacli.openai.native import native_embeddings
from llamacli.openai.token_request import read_detokenize, read_template, read_tokenize, tokens_document
from llamacli.openai.vector_request import (
    EmbeddingRequest,
    embeddings_document,
    read_embeddings,
    read_native_embedding,
    read_rerank,
    rerank_document,
)  # fmt: skip
from llamacli.server.http.exchange import Exchange
from llamacli.server.routes.answering import model_of
from llamacli.server.state import ServerState

if TYPE_CHECKING:
    from llamacli.engine.embedding.outcome import Embedded, Outcome

    ReadEmbedding = Callable[[Any], EmbeddingRequest]
    WriteEmbeddings = Callable[[Sequence[Embedded], EmbeddingRequest, str], Any]


class Texts:
    """The endpoints of texts that are not answered."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def embeddings(self, exchange: Exchange) -> None:
        """Turn texts into vectors."""
        await self._embed(exchange, read_embeddings, "input", embeddings_document)

    async def native_embedding(self, exchange: Exchange) -> None:
        """Turn texts into vectors, in llama-server's format."""
        await self._embed(exchange, read_native_embedding, "content", lambda outcomes, *_: native_embeddings(outcomes))

    async def _embed(self, exchange: Exchange, read: ReadEmbedding, field: str, write: WriteEmbeddings) -> None:
        document = await exchange.json()
        request = await exchange.read(lambda: read(document))
        async with self._state.pool.use(model_of(document)) as model:
            exchange.record.model = model.name
            outcomes = embedded(await model.embed(request.texts, request.params), field)
            _count(exchange, outcomes)
            found = await model.prompt_work(lambda: write(outcomes, request, model.name))
        await exchange.reply_json(found)

    async def rerank(self, exchange: Exchange) -> None:
        """Sort texts by how well they answer a query."""
        document = await exchange.json()
        request = await exchange.read(lambda: read_rerank(document))
        async with self._state.pool.use(model_of(document)) as model:
            exchange.record.model = model.name
            outcomes = embedded(await model.rerank(request.query, request.texts, EmbeddingParams()), "documents")
            _count(exchange, outcomes)
            await exchange.reply_json(rerank_document(outcomes, request, model.name))

    async def tokenize(self, exchange: Exchange) -> None:
        """Tell the tokens of a text."""
        document = await exchange.json()
        request = await exchange.read(lambda: read_tokenize(document))
        async with self._state.pool.use(model_of(document)) as model:
            backend = model.backend
            tokens = await model.prompt_work(
                lambda: backend.tokenize(request.text, add_special=request.add_special, special=request.special)
            )
            pieces = await model.prompt_work(lambda: backend.pieces(tokens)) if request.with_pieces else None
        await exchange.reply_json(tokens_document(tokens, pieces))

    async def detokenize(self, exchange: Exchange) -> None:
        """Tell the text of tokens."""
        document = await exchange.json()
        tokens = await exchange.read(lambda: read_detokenize(document))
        async with self._state.pool.use(model_of(document)) as model:
            try:
                text = await model.prompt_work(lambda: model.backend.detokenize(tokens))
            except UsageError as error:
                raise UsageError(error.message, hint=error.hint, parameter="tokens") from error
        content = text.decode("utf-8", "replace")
        await exchange.reply_json({"content": content, "prompt": content})

    async def tokenizer_info(self, exchange: Exchange) -> None:
        """Describe the tokenizer of the default model, as vLLM does."""
        async with self._state.pool.use(None) as model:
            special = await model.prompt_work(model.special_tokens)
        await exchange.reply_json({**special, "chat_template": model.description.chat_template})

    async def apply_template(self, exchange: Exchange) -> None:
        """Tell the prompt that a conversation becomes."""
        document = await exchange.json()
        async with self._state.pool.use(model_of(document)) as model:
            turn = await model.render(await model.prompt_work(lambda: read_template(document)))
        await exchange.reply_json({"prompt": turn.prompt.text, "tokens": len(turn.prompt.tokens)})


def embedded(outcomes: Sequence[Outcome], field: str) -> list[Embedded]:
    """Return outcomes that are all vectors. Raises the first error of a text, which names its place in the field."""
    from llamacli.engine.embedding.outcome import NotEmbedded

    found: list[Embedded] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, NotEmbedded):
            raise _placed(outcome.error, f"{field}[{index}]")
        found.append(outcome)
    return found


def _placed(error: LlamacliError, field: str) -> LlamacliError:
    error.message, error.parameter = f"{field}: {error.message}", field
    return error


def _count(exchange: Exchange, outcomes: Sequence[Embedded]) -> None:
    exchange.record.prompt_tokens = sum(outcome.tokens for outcome in outcomes)
