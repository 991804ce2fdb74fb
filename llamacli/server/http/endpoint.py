"""An endpoint: a coroutine that answers an exchange, ended at once when its client leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from llamacli.errors import LlamacliError
from llamacli.server.http.asgi import Receive, Scope, Send
from llamacli.server.http.exchange import ClientGoneError, Exchange

logger = logging.getLogger(__name__)

GONE = 499
"""The status in the log of a request whose client has left, as nginx has it."""

Handler = Callable[[Exchange], Awaitable[None]]

EXCHANGE = "llamacli.exchange"
"""The key of a scope under which the front (`application`) leaves the exchange."""


class Endpoint:
    """A handler as an ASGI application. Its errors become responses; a client that leaves cancels it.

    `body_limit` replaces the general limit of bodies.
    """

    def __init__(self, handler: Handler, *, body_limit: int | None = None) -> None:
        self.handler = handler
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange: Exchange = scope[EXCHANGE]
        exchange.scope = scope  # the router has added the variable parts of the path
        try:
            await exchange.read_body(self._body_limit)
            await self._watched(exchange)
        except ClientGoneError:
            exchange.record.status = GONE
        except Exception as error:  # noqa: BLE001  # the boundary of a request
            await self._fail(exchange, error)

    async def _watched(self, exchange: Exchange) -> None:
        """Run the handler until it has answered or the client has left. Raises what it raises, and ClientGoneError."""
        work = asyncio.current_task()
        assert work is not None
        is_done = is_gone = False

        async def watch() -> None:
            nonlocal is_gone
            await exchange.gone()
            if not is_done:
                is_gone = True
                work.cancel()

        watching = asyncio.ensure_future(watch())
        try:
            await self.handler(exchange)
        except BaseException:
            if is_gone:
                raise ClientGoneError from None
            raise
        finally:
            is_done = True
            watching.cancel()
            if is_gone:
                work.uncancel()

    async def _fail(self, exchange: Exchange, error: Exception) -> None:
        if not isinstance(error, LlamacliError):
            logger.error("%s %s failed", exchange.record.method, exchange.record.path, exc_info=error)
        if exchange.started:
            raise error  # the server closes the connection: a cut response must not look like a whole one
        try:
            await exchange.fail(error)
        except ClientGoneError:
            exchange.record.status = GONE
