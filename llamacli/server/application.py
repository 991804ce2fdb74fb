"""The application: plain ASGI. In front of the routes it checks where a request comes from, and who sent it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp

from llamacli.backend.child.decoder import decoding_in_child
from llamacli.json_text import parse_json
from llamacli.openai.errors import Problem
from llamacli.openai.messages.errors import error_document
from llamacli.server.batches.worker import BatchWorker
from llamacli.server.http.asgi import App, Message, Receive, Scope, Send
from llamacli.server.http.endpoint import EXCHANGE, GONE
from llamacli.server.http.exchange import ClientGoneError, Exchange, Record, RefusedError, dump
from llamacli.server.routes.messages import PREFIX
from llamacli.server.routes.table import routes
from llamacli.server.state import ServerState

logger = logging.getLogger(__name__)

OPEN_PATHS = ("/health", "/v1/health")
"""Paths that need no key."""

_UNLIMITED = ("/health", "/v1/health", "/metrics")
_IDLE_CHECK_SECONDS = 5.0
_LAG_CHECK_SECONDS = 0.1


def make_application(state: ServerState) -> App:
    """Return the application of a server."""
    worker: BatchWorker | None = None

    def lifespan(app: object) -> contextlib.AbstractAsyncContextManager[None]:
        return _lifespan(state, worker)

    router = Router(redirect_slashes=False, lifespan=lifespan)
    if state.batches is not None:
        worker = BatchWorker(state.batches, partial(ask, router, state))
    found = routes(state, worker)
    router.routes.extend(found)
    return Front(state, router, found)


async def ask(router: ASGIApp, state: ServerState, owner: str, path: str, body: Any) -> tuple[int, Any, str]:
    """Send a request of an owner to an endpoint from inside the server; return status, document and id of the response."""
    never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    bodies = iter([{"type": "http.request", "body": dump(body)}])
    answer: list[bytes] = []

    async def receive() -> Message:
        return next(bodies, None) or await never

    async def send(message: Message) -> None:
        answer.append(message.get("body", b""))

    record = Record(method="POST", path=path, client=owner)
    scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"", "app": router}
    scope[EXCHANGE] = Exchange(scope, receive, send, state.limits, record)
    await router(scope, receive, send)
    record.seconds = record.elapsed
    state.metrics.count(record, "batch")
    return record.status, parse_json(b"".join(answer)), record.id


@contextlib.asynccontextmanager
async def _lifespan(state: ServerState, worker: BatchWorker | None) -> AsyncIterator[None]:
    """Load the default model in the background, go on with batches, and free idle models; free all at the end."""
    tasks = [asyncio.ensure_future(work) for work in (load_default(state), _free_idle(state), _watch_loop(state))]
    if worker is not None:
        worker.resume()
    with decoding_in_child(state.decoder) as decoder:
        try:
            yield
        finally:
            decoder.close()  # what still waits to be decoded is refused, and not decoded in this process
            if worker is not None:
                await worker.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await state.pool.close()
            state.write_notes()


async def load_default(state: ServerState) -> None:
    """Load the default model. An error is kept by the pool, and raised for each request that needs the model."""
    try:
        async with state.pool.use(None):
            pass
    except Exception as error:  # noqa: BLE001  # nobody waits for it here
        logger.error("%s cannot be loaded: %s", state.pool.default, error)
        state.on_failure(error)


async def _free_idle(state: ServerState) -> None:
    while True:
        await asyncio.sleep(_IDLE_CHECK_SECONDS)
        await state.pool.free_idle()


async def _watch_loop(state: ServerState) -> None:
    """Measure how late the event loop comes to what is due."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + _LAG_CHECK_SECONDS
        await asyncio.sleep(_LAG_CHECK_SECONDS)
        state.metrics.observe_lag(clock() - due)


class Front:
    """What every request passes before and after its endpoint. The router is asked for paths that have variable parts."""

    def __init__(self, state: ServerState, router: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._state = state
        self._router = router
        exact = [route for route in routes if isinstance(route, Route) and "{" not in route.path]
        self._exact = {(method, route.path): route for route in exact for method in route.methods or ()}

    async def _inner(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._exact.get((scope["method"], scope["path"]))
        if route is None:
            await self._router(scope, receive, send)
        else:
            scope["route"] = route
            await route.app(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of ASGI."""
        if scope["type"] == "lifespan":
            await self._router(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        state, record = self._state, Record(method=scope["method"], path=scope["path"])
        exchange = Exchange(scope, receive, send, state.limits, record)
        if scope["path"].startswith(PREFIX):
            exchange.error_document = partial(error_document, request_id=record.id)
        scope[EXCHANGE] = exchange
        scope["app"] = self  # so that the router raises what it does not find
        try:
            try:
                if not await self._answered_before(exchange):
                    await self._inner(scope, receive, send)
            except HTTPException as error:
                raise _not_found(scope, error) from None
        except ClientGoneError:
            record.status = GONE
        except RefusedError as error:
            with contextlib.suppress(ClientGoneError):
                await exchange.fail(error)
        finally:
            record.seconds = record.elapsed
            self._spend(exchange)
            state.note(record, _pattern(scope))

    async def _answered_before(self, exchange: Exchange) -> bool:
        """Check the request. Return True if it is answered already. Raises RefusedError."""
        state, scope = self._state, exchange.scope
        preflight = state.origin.preflight(scope)
        problem = state.origin.problem(scope)
        if problem is not None:
            raise RefusedError(Problem(status=403, message=problem, type="permission_error", code="forbidden_origin"))
        if preflight is not None:
            await exchange.reply(b"", status=204, headers=preflight)
            return True
        exchange.headers += state.origin.headers(scope)
        if scope["path"] in OPEN_PATHS:
            return False
        client = state.clients.find(scope)
        if client is None:
            raise RefusedError(
                Problem(status=401, message="a valid API key is needed", code="invalid_api_key", type="authentication_error"),
                [(b"www-authenticate", b'Bearer realm="llamacli"' if scope["path"] != "/" else b'Basic realm="llamacli"')],
            )
        exchange.record.client = client.name
        if client.allowance is not None and scope["path"] not in _UNLIMITED:
            seconds, what = client.allowance.admit()
            exchange.headers += client.allowance.headers()
            if seconds > 0:
                message = f"the limit of {what} of this key is reached; try again in {seconds:.1f} seconds"
                limited = Problem(
                    status=429, message=message, type="rate_limit_error", code="rate_limit_exceeded", retry_after=seconds
                )
                raise RefusedError(limited)
            exchange.allowance = client.allowance
        return False

    @staticmethod
    def _spend(exchange: Exchange) -> None:
        record = exchange.record
        if exchange.allowance is not None:
            exchange.allowance.spend(record.prompt_tokens + record.completion_tokens)


def _not_found(scope: Scope, error: HTTPException) -> RefusedError:
    """The error of a path that does not exist, or not with this method."""
    where = f"{scope['method']} {scope['path']}"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        problem = Problem(status=405, message=f"{where} is not supported: use {allowed}", code="method_not_allowed")
        return RefusedError(problem, [(b"allow", allowed.encode())])
    return RefusedError(Problem(status=error.status_code, message=f"there is no {where}", code="not_found"))


def _pattern(scope: Scope) -> str:
    """The pattern of the path, so that there are not as many measurements as paths."""
    route = scope.get("route")
    return str(getattr(route, "path", "other"))
