"""MCP servers: started on a thread while the user types, asked for their tools, and called. The protocol is that of `mcp`.

A server's tool is called `SERVER__TOOL`, so that no server can offer a tool under the name of another one that is allowed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib.util
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llamacli.engine.chat.message import Tool
from llamacli.errors import UsageError
from llamacli.tools.outcome import Outcome, clipped
from llamacli.tools.toolbox import Offer, check_schema

if TYPE_CHECKING:
    import mcp

START_SECONDS = 30.0
"""How long a server may take to start and to tell its tools."""

_PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.05
_MOST_TOOLS = 500
_LONGEST_DESCRIPTION = 4096
_OTHER = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How a server is reached: a `command` that speaks on its standard streams, or the `url` of one that speaks HTTP.

    A command gets `environ` and of our own environment only what any program needs (PATH, HOME and the like).
    """

    name: str
    command: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float

    @property
    def origin(self) -> str:
        """What it is, for people."""
        return self.url or " ".join(self.command)


class Servers:
    """Running servers. `wait()` tells their tools, and `problems` what did not work; `close()` ends them.

    Raises (when built):
        UsageError: the `mcp` package is not installed.
    """

    def __init__(self, servers: Iterable[Server]) -> None:
        if importlib.util.find_spec("mcp") is None:
            raise UsageError("MCP servers need the mcp package", hint="pip install 'llamacli[mcp]'")
        for name in ("mcp", "httpx2"):  # else what they log would come out on the terminal
            logging.getLogger(name).addHandler(logging.NullHandler())
        self._servers = tuple(servers)
        self._offers: dict[str, list[Offer]] = {}
        self._ready = threading.Event()
        self._left = len(self._servers)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="mcp", daemon=True)
        self.problems: list[str] = []

    def start(self) -> None:
        """Starts the servers in the background."""
        self._thread.start()

    def wait(self, on_wait: Callable[[], None] = lambda: None) -> tuple[Offer, ...]:
        """The tools of all servers that work, when each has told its own or failed. `on_wait` is called again and again."""
        while not self._ready.wait(_POLL_SECONDS):
            on_wait()
        return tuple(offer for server in self._servers for offer in self._offers.get(server.name, ()))

    def close(self) -> None:
        """Ends the servers."""
        loop, closing = self._loop, self._closing
        if loop is not None and closing is not None:
            with contextlib.suppress(RuntimeError):  # it is closed already
                loop.call_soon_threadsafe(closing.set)
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve_all())
        finally:
            self._ready.set()

    async def _serve_all(self) -> None:
        self._closing = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        await asyncio.gather(*(self._serve(server) for server in self._servers))

    async def _serve(self, server: Server) -> None:
        """One server, from its start to the end of the conversation."""
        assert self._closing is not None
        told = False
        with _LastWords() as words:
            try:
                async with _client(server, words) as client:
                    self._offers[server.name] = await self._ask(server, client)
                    told = self._tell()
                    await self._closing.wait()
            except Exception as error:  # noqa: BLE001 - whatever a server does, the conversation goes on
                if not told:
                    self._offers.pop(server.name, None)
                    self.problems.append(f"the MCP server {server.name} does not work: {_reason(error)}{words.text()}")
            finally:
                if not told:
                    self._tell()

    def _tell(self) -> bool:
        self._left -= 1
        if self._left == 0:
            self._ready.set()
        return True

    async def _ask(self, server: Server, client: mcp.Client) -> list[Offer]:
        """The tools that a server offers. What cannot be used is left out, and said."""
        found: dict[str, Offer] = {}
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                name = f"{server.name}__{_OTHER.sub('_', tool.name)}"[:128]
                try:
                    if name in found or len(found) >= _MOST_TOOLS:
                        raise UsageError("another one has this name" if name in found else "it has too many tools")
                    check_schema(tool.input_schema)
                except UsageError as error:
                    self.problems.append(f"the tool {name} of an MCP server is left out: {error.message}")
                    continue
                described = Tool(name, (tool.description or "")[:_LONGEST_DESCRIPTION], tool.input_schema)
                run = partial(self._call, server, client, tool.name)
                found[name] = Offer(described, f"MCP server {server.name}: {server.origin}", run)
            cursor = page.next_cursor
            if not cursor or len(found) >= _MOST_TOOLS:
                return list(found.values())

    def _call(
        self,
        server: Server,
        client: mcp.Client,
        name: str,
        arguments: str,
        cancelled: threading.Event,
        on_text: Callable[[str], None],
    ) -> Outcome:
        """Calls a tool from another thread, and waits for its result."""
        import json

        assert self._loop is not None
        work = client.call_tool(name, json.loads(arguments), read_timeout_seconds=server.seconds)
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            return Outcome("", f"[the MCP server {server.name} has ended]", failed=True)
        while True:
            try:
                outcome = _outcome(future.result(_POLL_SECONDS))
            except concurrent.futures.TimeoutError:
                if future.done():
                    return Outcome("", "[the call took too long]", failed=True)
                if cancelled.is_set():
                    future.cancel()
                    return Outcome("", "[stopped by the user]", failed=True)
            except concurrent.futures.CancelledError:
                return Outcome("", f"[the MCP server {server.name} has ended]", failed=True)
            except Exception as error:  # noqa: BLE001 - the model is told, whatever it is
                return Outcome("", f"[the call failed: {_reason(error)}]", failed=True)
            else:
                on_text(outcome.output)
                return outcome


@contextlib.asynccontextmanager
async def _client(server: Server, words: _LastWords) -> Any:
    """A connection to a server."""
    import mcp
    from mcp.client.stdio import stdio_client

    async with contextlib.AsyncExitStack() as stack:
        if server.command:
            command = mcp.StdioServerParameters(
                command=server.command[0],
                args=list(server.command[1:]),
                env=dict(server.environ),
                cwd=server.folder,
                encoding_error_handler="replace",
            )
            transport = stdio_client(command, words.stream)
        else:
            import httpx2
            from mcp.client.streamable_http import streamable_http_client

            timeout = httpx2.Timeout(START_SECONDS, read=max(server.seconds, START_SECONDS))
            client = httpx2.AsyncClient(headers=dict(server.headers), timeout=timeout)
            transport = streamable_http_client(server.url, http_client=await stack.enter_async_context(client))
        yield await stack.enter_async_context(mcp.Client(transport, read_timeout_seconds=START_SECONDS))


class _LastWords:
    """What a server writes to its standard error, of which the end is kept: it says why a server does not start."""

    _MOST = 500

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w")
        self._end = b""
        self._thread = threading.Thread(target=self._read, args=(reader,), name="mcp-stderr", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """The last line, to be put behind a message."""
        lines = self._end.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f" (its last words: {last})" if last else ""

    def _read(self, reader: int) -> None:
        with open(reader, "rb", buffering=0) as pipe:
            while data := pipe.read(4096):
                self._end = (self._end + data)[-self._MOST :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()


def _outcome(result: Any) -> Outcome:
    """The text of a result; what is no text is named."""
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        import json

        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return Outcome(
        clipped("\n".join(parts)), "[the tool says that it failed]" if result.is_error else "", bool(result.is_error)
    )


def _part(block: Any) -> str:
    match block.type:
        case "text":
            return str(block.text)
        case "resource" if getattr(block.resource, "text", None) is not None:
            return str(block.resource.text)
        case "resource_link":
            return f"[a link to {block.uri}]"
        case _:
            kind = getattr(block, "mime_type", None) or getattr(getattr(block, "resource", None), "mime_type", None)
            return f"[{block.type}{f', {kind}' if kind else ''}: only text is supported]"


def _reason(error: BaseException) -> str:
    """Why something failed, on one line. Groups of one error are taken for it."""
    return next(_reasons(error), type(error).__name__)


def _reasons(error: BaseException) -> Iterator[str]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _reasons(one)
    elif text := " ".join(str(error).split()):
        yield text[:300]
