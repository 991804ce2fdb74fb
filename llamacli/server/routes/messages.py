"""Anthropic's Messages API: `/v1/messages` and its count of tokens."""

from __future__ import annotations

from llamacli.openai.messages.request import count_document, read_count
from llamacli.openai.messages.request import read_request as read_messages
from llamacli.openai.messages.stream import MessageStream
from llamacli.server.http.exchange import Exchange
from llamacli.server.routes.answering import Answering, model_of, read_request, resolved
from llamacli.server.routes.typed_stream import grow, stream_events
from llamacli.server.state import ServerState

PREFIX = "/v1/messages"
"""The paths whose errors have Anthropic's form."""


class Messages:
    """The endpoints of messages."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def create(self, exchange: Exchange) -> None:
        """Answer a conversation."""
        document = await exchange.json()
        async with self._state.pool.use(model_of(document)) as model:
            request = await read_request(exchange, model, document, lambda: read_messages(document, model.sampling))
            params, turn = await resolved(model, request.generation), await model.render(request.question)
            answering = Answering(self._state, exchange, model)
            await answering.note(turn)
            message = MessageStream(request, model=model.name, prompt_tokens=len(turn.prompt.tokens))
            if request.stream:
                await stream_events(exchange, answering, turn, params, message)
            else:
                await grow(answering, turn, params, message)
                await exchange.reply_json(message.message)

    async def count(self, exchange: Exchange) -> None:
        """Tell how many tokens the prompt of a conversation has."""
        document = await exchange.json()
        async with self._state.pool.use(model_of(document)) as model:
            turn = await model.render(await model.prompt_work(lambda: read_count(document)))
        await exchange.reply_json(count_document(len(turn.prompt.tokens)))
