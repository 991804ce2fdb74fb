"""A live server in this process, on a thread, and the little HTTP that tests speak to it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llamacli.backend.local import open_backend
from llamacli.engine.params import ContextParams
from llamacli.server.http.exchange import HttpLimits, Record
from llamacli.server.listen import open_address
from llamacli.server.metrics import Metrics
from llamacli.server.models.pool import ModelPool, PoolParams
from llamacli.server.models.spec import ModelSpec, OpenBackend
from llamacli.server.run import uvicorn_server
from llamacli.server.security.clients import Clients
from llamacli.server.security.origin import OriginRules
from llamacli.server.security.rate_limit import RateLimit
from llamacli.server.state import ServerState
from llamacli.store.api_keys import ApiKey


@dataclass(frozen=True)
class Reply:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json()["error"]

    def events(self) -> list[Any]:
        """The documents of a stream, and the text of its end."""
        blocks = [block for block in self.body.decode().split("\n\n") if block and not block.startswith(":")]
        data = [line.removeprefix("data: ") for block in blocks for line in block.splitlines() if line.startswith("data: ")]
        return [one if one == "[DONE]" else json.loads(one) for one in data]

    def comments(self) -> list[str]:
        return [line[1:].strip() for line in self.body.decode().splitlines() if line.startswith(":")]


@dataclass
class LiveServer:
    """A running server. `records` are those of the requests that have ended."""

    port: int
    state: ServerState
    loop: asyncio.AbstractEventLoop
    records: list[Record] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connection(self, timeout: float = 60) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(
        self, method: str, path: str, document: Any = None, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Reply:
        data = body or (json.dumps(document).encode() if document is not None else None)
        with closing(self.connection()) as connection:
            connection.request(method, path, data, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def get(self, path: str, **options: Any) -> Reply:
        return self.request("GET", path, **options)

    def post(self, path: str, document: Any = None, **options: Any) -> Reply:
        return self.request("POST", path, document, **options)

    def wait_until_idle(self, seconds: float = 10) -> float:
        """Wait until no answer runs; return the seconds it took."""
        started = time.monotonic()
        wait_for(lambda: all(not model.admission.running for model in self.state.pool.loaded()), seconds)
        return time.monotonic() - started


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def spec_of(path: Path, *, name: str | None = None, parallel: int = 4, n_ctx: int | None = None, **more: Any) -> ModelSpec:
    """A model that is served from a file."""
    context = ContextParams(n_seq_max=parallel, n_ctx=n_ctx, threads=1, invariant=True)
    return ModelSpec(name=name or path.stem, find=lambda: path, context=context, **more)


def state_of(
    *specs: ModelSpec,
    opener: OpenBackend = open_backend,
    fits: Callable[..., bool] = lambda *_: True,
    pool: PoolParams | None = None,
    keys: tuple[ApiKey, ...] = (),
    limit: RateLimit | None = None,
    clock: Callable[[], float] = time.monotonic,
    origin: OriginRules | None = None,
    limits: HttpLimits | None = None,
    **more: Any,
) -> ServerState:
    """The state of a server for tests."""
    return ServerState(
        pool=ModelPool(specs, opener, fits, pool or PoolParams()),
        clients=Clients(keys, limit, clock),
        origin=origin or OriginRules(),
        metrics=Metrics(),
        limits=limits or HttpLimits(),
        **more,
    )


@contextmanager
def serving(*specs: ModelSpec, loaded: bool = True, **options: Any) -> Iterator[LiveServer]:
    """A live server; `loaded` waits for its first model."""
    (bound,) = open_address("127.0.0.1", 0)
    ready = threading.Event()
    found: list[LiveServer] = []
    failures: list[BaseException] = []

    async def run() -> None:
        state = state_of(*specs, **options)
        live = LiveServer(bound.getsockname()[1], state, asyncio.get_running_loop())
        state.log = live.records.append
        server = uvicorn_server(state)
        task = asyncio.ensure_future(server._serve([bound]))
        while not server.started:
            await asyncio.sleep(0.005)
        found.append(live)
        live.stop = server  # type: ignore[attr-defined]
        ready.set()
        await task

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        ready.set()

    thread = threading.Thread(target=main, name="server")
    thread.start()
    ready.wait()
    assert not failures, failures
    (live,) = found
    try:
        if loaded:
            wait_for(lambda: live.state.pool.state_of(live.state.pool.default)[0] == "loaded")
        yield live
    finally:
        asyncio.run_coroutine_threadsafe(live.state.pool.close(), live.loop).result()  # what still runs ends
        live.stop.should_exit = True  # type: ignore[attr-defined]
        thread.join()
        bound.close()
    assert not failures, failures
