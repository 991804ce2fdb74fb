"""OpenAI's Responses API: `/v1/responses`, and what is kept of them."""

from __future__ import annotations

from functools import partial
from urllib.parse import parse_qs

from llamacli.errors import UsageError
from llamacli.openai.errors import Problem
from llamacli.openai.responses.request import read_request as read_response
from llamacli.openai.responses.store import StoredResponse, count_document, deleted_document, items_document
from llamacli.openai.responses.stream import ResponseStream
from llamacli.server.http.exchange import Exchange, RefusedError
from llamacli.server.routes.answering import Answering, model_of, read_request, resolved
from llamacli.server.routes.typed_stream import grow, stream_events
from llamacli.server.state import ServerState

_MOST_ITEMS = 100


class Responses:
    """The endpoints of responses. A client sees only those that were made with its key."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._store = state.responses

    async def create(self, exchange: Exchange) -> None:
        """Answer a request, and keep the response unless the client says otherwise."""
        document, owner = await exchange.json(), exchange.record.client
        async with self._state.pool.use(model_of(document)) as model:
            read = partial(read_response, document, model.sampling, self._store, owner=owner)
            request = await read_request(exchange, model, document, read)
            params = await resolved(model, request.generation)
            answering = Answering(self._state, exchange, model)
            asked = await answering.note(request.question)
            response = ResponseStream(request, model=model.name, keep=lambda stored: self._store.put(owner, stored))
            if request.stream:
                await stream_events(exchange, answering, asked, params, response)
            else:
                await grow(answering, asked, params, response)
                await exchange.reply_json(response.response)

    async def count(self, exchange: Exchange) -> None:
        """Tell how many tokens the prompt of a request has."""
        document, owner = await exchange.json(), exchange.record.client
        async with self._state.pool.use(model_of(document)) as model:
            read = partial(read_response, document, model.sampling, self._store, owner=owner)
            turn = await model.render((await model.prompt_work(read)).question)
        await exchange.reply_json(count_document(len(turn.prompt.tokens)))

    async def retrieve(self, exchange: Exchange) -> None:
        """Tell a response that was kept."""
        query = parse_qs(exchange.scope.get("query_string", b"").decode("latin-1"))
        if query.get("stream", ["false"])[0] != "false":
            raise UsageError("stream is not supported for a response that is complete", parameter="stream")
        await exchange.reply_json(self._find(exchange).response)

    async def items(self, exchange: Exchange) -> None:
        """Tell the input of a response."""
        found = self._find(exchange)
        query = parse_qs(exchange.scope.get("query_string", b"").decode("latin-1"))
        limit, order = query.get("limit", ["20"])[0], query.get("order", ["desc"])[0]
        if not limit.isdecimal() or not 1 <= int(limit) <= _MOST_ITEMS:
            raise UsageError(f"limit must be from 1 to {_MOST_ITEMS}", parameter="limit")
        if order not in ("asc", "desc"):
            raise UsageError("order must be asc or desc", parameter="order")
        after = query.get("after", [None])[0]
        await exchange.reply_json(items_document(found, after=after, limit=int(limit), newest_first=order == "desc"))

    async def delete(self, exchange: Exchange) -> None:
        """Forget a response."""
        identity = self._find(exchange).id
        self._store.remove(exchange.record.client, identity)
        await exchange.reply_json(deleted_document(identity))

    async def cancel(self, exchange: Exchange) -> None:
        """Refuse to cancel a response: it ended before it could be named, or ends with its connection."""
        self._find(exchange)
        raise UsageError("only responses in the background can be cancelled: close the connection of another one")

    def _find(self, exchange: Exchange) -> StoredResponse:
        identity = exchange.path_params["id"]
        found = self._store.find(exchange.record.client, identity)
        if found is None:
            raise RefusedError(Problem(status=404, message=f"there is no response {identity[:100]!r}", code="not_found"))
        return found
