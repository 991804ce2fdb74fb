"""MCP servers, started on a background thread, as sources of tools. The package `mcp` implements the protocol.

A server's tool is named `SERVER__TOOL`, so that no server can offer a tool under the name of another, allowed one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib.util
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamacli.engine.chat.message import Tool
from llamacli.errors import LlamacliError, UsageError
from llamacli.tools.outcome import Outcome, clipped
from llamacli.tools.stderr_tail import StderrTail
from llamacli.tools.toolbox import Check, Offer, accept_any, check_schema

if TYPE_CHECKING:
    import mcp

START_SECONDS = 30.0
"""The time limit in seconds for a server to start and to list its tools."""

_CLOSE_SECONDS = 5.0
_POLL_SECONDS = 0.05
_MAX_TOOLS = 500
_MAX_DESCRIPTION = 4096
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The configuration of a server: a `command` that uses its standard streams, or the `url` of an HTTP server.

    A command receives `environ` and, of the own environment, only the basic variables (PATH, HOME and the like). `seconds` is
    the time limit of a call.
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
        """The command or address, as shown to the user."""
        return self.url or " ".join(self.command)


class Servers:
    """Running servers. `wait()` returns their tools, `problems` lists the failures, and `close()` stops the servers.

    A tool that fails `check` is left out, with an entry in `problems`.

    Raises (the constructor):
        UsageError: if the `mcp` package is not installed.
    """

    def __init__(self, servers: Iterable[Server], *, check: Check = accept_any) -> None:
        if importlib.util.find_spec("mcp") is None:
            raise UsageError("MCP servers need the mcp package", hint="pip install 'llamacli[mcp]'")
        for name in ("mcp", "httpx2"):  # without a handler, their log records would reach the terminal
            logging.getLogger(name).addHandler(logging.NullHandler())
        self._servers = tuple(servers)
        self._check = check
        self._offers: dict[str, list[Offer]] = {}
        self._ready = threading.Event()
        self._pending = len(self._servers)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="mcp", daemon=True)
        self.problems: list[str] = []

    def start(self) -> None:
        """Start the servers in the background."""
        self._thread.start()

    def wait(self, on_wait: Callable[[], None] = lambda: None) -> tuple[Offer, ...]:
        """Wait until every server has listed its tools or failed, and return the tools. `on_wait` is called while waiting."""
        while not self._ready.wait(_POLL_SECONDS):
            on_wait()
        # checked here, not in the background: the check may load the native library
        return tuple(
            offer for server in self._servers for offer in self._offers.get(server.name, ()) if self._is_usable(server, offer)
        )

    def _is_usable(self, server: Server, offer: Offer) -> bool:
        try:
            self._check(offer.tool)
        except LlamacliError as error:
            self._leave_out(server, offer.tool.name, error)
            return False
        return True

    def _leave_out(self, server: Server, name: str, error: LlamacliError) -> None:
        problem = f"tool {name} of MCP server {server.name} is left out: {error.message}"
        if problem not in self.problems:
            self.problems.append(problem)

    def close(self) -> None:
        """Stop the servers."""
        loop, closing = self._loop, self._closing
        if loop is not None and closing is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(closing.set)
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS)

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
        """Run one server until `close()`."""
        assert self._closing is not None
        listed = False
        with StderrTail() as stderr:
            try:
                async with _client(server, stderr) as client:
                    self._offers[server.name] = await self._list_tools(server, client)
                    listed = True
                    self._finish_start()
                    await self._closing.wait()
            except Exception as error:  # noqa: BLE001 - no failure of a server may end the conversation
                if not listed:
                    self._offers.pop(server.name, None)
                    self.problems.append(f"MCP server {server.name} failed: {_reason(error)}{stderr.note()}")
            finally:
                if not listed:
                    self._finish_start()

    def _finish_start(self) -> None:
        self._pending -= 1
        if self._pending == 0:
            self._ready.set()

    async def _list_tools(self, server: Server, client: mcp.Client) -> list[Offer]:
        """The tools of a server. Unusable ones are left out and recorded as problems."""
        found: dict[str, Offer] = {}
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                name = f"{server.name}__{_UNSAFE.sub('_', tool.name)}"[:128]
                try:
                    if name in found or len(found) >= _MAX_TOOLS:
                        raise UsageError("another tool has this name" if name in found else f"more than {_MAX_TOOLS} tools")
                    check_schema(tool.input_schema)
                except UsageError as error:
                    self._leave_out(server, name, error)
                    continue
                described = Tool(name, (tool.description or "")[:_MAX_DESCRIPTION], tool.input_schema)
                run = partial(self._call, server, client, tool.name)
                found[name] = Offer(described, f"MCP server {server.name}: {server.origin}", run)
            cursor = page.next_cursor
            if not cursor or len(found) >= _MAX_TOOLS:
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
        """Call a tool from another thread and wait for its result."""
        import json

        assert self._loop is not None
        work = client.call_tool(name, json.loads(arguments), read_timeout_seconds=server.seconds)
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            return Outcome("", f"[MCP server {server.name} has exited]", failed=True)
        while True:
            try:
                outcome = _outcome(future.result(_POLL_SECONDS))
            except concurrent.futures.TimeoutError:
                if future.done():
                    return Outcome("", "[the call timed out]", failed=True)
                if cancelled.is_set():
                    future.cancel()
                    return Outcome("", "[stopped by the user]", failed=True)
            except concurrent.futures.CancelledError:
                return Outcome("", f"[MCP server {server.name} has exited]", failed=True)
            except Exception as error:  # noqa: BLE001 - any failure is reported to the model
                return Outcome("", f"[the call failed: {_reason(error)}]", failed=True)
            else:
                on_text(outcome.output)
                return outcome


@contextlib.asynccontextmanager
async def _client(server: Server, stderr: StderrTail) -> Any:
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
            transport = stdio_client(command, stderr.stream)
        else:
            import httpx2
            from mcp.client.streamable_http import streamable_http_client

            timeout = httpx2.Timeout(START_SECONDS, read=max(server.seconds, START_SECONDS))
            client = httpx2.AsyncClient(headers=dict(server.headers), timeout=timeout)
            transport = streamable_http_client(server.url, http_client=await stack.enter_async_context(client))
        yield await stack.enter_async_context(mcp.Client(transport, read_timeout_seconds=START_SECONDS))


def _outcome(result: Any) -> Outcome:
    """The text of a result, with placeholders for other content."""
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        import json

        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    failed = bool(result.is_error)
    return Outcome(clipped("\n".join(parts)), "[the tool reported an error]" if failed else "", failed)


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
    """The message of an error on one line, or of the first error in a group."""
    return next(_reasons(error), type(error).__name__)


def _reasons(error: BaseException) -> Iterator[str]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _reasons(one)
    elif text := " ".join(str(error).split()):
        yield text[:300]
