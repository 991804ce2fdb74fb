"""A server on this machine that speaks the hub's HTTP protocol, well or badly, and remembers what it was asked."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Behaviour:
    """How the server treats the body of a file. `times`: for how many requests it misbehaves, then it is well again."""

    cut_after: int | None = None
    times: int = 1_000_000
    seconds_per_chunk: float = 0.0
    chunk: int = 1 << 16
    body: bytes | None = None
    content_type: str = "application/octet-stream"
    ignore_range: bool = False
    no_length: bool = False
    status: int | None = None
    error_code: str | None = None
    etag: bool = True
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What the server was asked."""

    method: str
    path: str
    headers: dict[str, str]


class FakeHub:
    """`files[repo][path]` are the contents. `behaviour[path]` applies to a file's body, `api` to the listing."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.behaviour: dict[str, Behaviour] = {}
        self.api = Behaviour()
        self.listing: Any = None
        self.redirect_host = "localhost"
        self.requests: list[Request] = []
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self, name: str = "") -> list[Request]:
        """The requests for contents, not redirects."""
        return [
            one for one in self.requests if one.method == "GET" and one.path.startswith("/cdn/") and one.path.endswith(name)
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(Request(self.command, self.path, dict(self.headers)))
        try:
            path = unquote(urlsplit(self.path).path)
            if path == "/api/models":
                self._search()
            elif path.startswith("/api/models/"):
                self._list(path.removeprefix("/api/models/"))
            elif path.startswith("/cdn/"):
                self._body(path.removeprefix("/cdn/"))
            elif "/resolve/" in path:
                self._resolve(path)
            else:
                self._fail(404, None)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _list(self, rest: str) -> None:
        api = self.hub.api
        repo = "/".join(rest.split("/")[:2])
        if api.status:
            return self._fail(api.status, api.error_code, api.headers)
        if api.body is not None:
            return self._answer(200, api.body, api.content_type)
        if repo not in self.hub.files:
            return self._fail(404, "RepoNotFound")
        siblings = [
            {"rfilename": name, "size": len(data), "blobId": "0" * 40,
             "lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 100}}
            for name, data in self.hub.files[repo].items()
        ]  # fmt: skip
        document = self.hub.listing or {"id": repo, "sha": COMMIT, "siblings": siblings}
        return self._answer(200, json.dumps(document).encode(), "application/json")

    def _search(self) -> None:
        if self.hub.api.status:
            return self._fail(self.hub.api.status, self.hub.api.error_code)
        wanted = parse_qs(urlsplit(self.path).query)
        found = [
            {
                "id": repo,
                "downloads": 1000 + number,
                "tags": ["gguf", "license:mit"],
                "lastModified": f"2026-01-0{number + 1}T00:00:00Z",
            }
            for number, repo in enumerate(self.hub.files)
            if any(name.endswith(".gguf") for name in self.hub.files[repo])
            and all(word in repo.lower() for word in wanted["search"][0].lower().split())
        ]
        found = found[::-1][: int(wanted["limit"][0])]
        return self._answer(200, json.dumps(found).encode(), "application/json")

    def _resolve(self, path: str) -> None:
        repo, _, rest = path[1:].partition("/resolve/")
        name = rest.partition("/")[2]
        behaviour = self.hub.behaviour.get(name, Behaviour())
        if behaviour.status and behaviour.times > 0:
            behaviour.times -= 1
            return self._fail(behaviour.status, behaviour.error_code, behaviour.headers)
        data = self.hub.files.get(repo, {}).get(name)
        if data is None:
            return self._fail(404, "EntryNotFound")
        self.send_response(302)
        self.send_header("Location", f"http://{self.hub.redirect_host}:{self.hub.port}/cdn/{repo}/{name}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _body(self, path: str) -> None:
        user, repo, name = path.split("/", 2)
        data = self.hub.files[f"{user}/{repo}"][name]
        behaviour = self.hub.behaviour.get(name, Behaviour())
        misbehave = behaviour.times > 0
        behaviour.times -= 1
        if misbehave and behaviour.body is not None:
            data = behaviour.body
        start, last, partial = 0, len(data) - 1, False
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        wanted = self.headers.get("Range")
        if wanted and not behaviour.ignore_range and self.headers.get("If-Range", etag) == etag:
            first, _, end_of_range = wanted.removeprefix("bytes=").partition("-")
            start, partial = int(first), True
            if start >= len(data):
                return self._fail(416, None)
            last = min(int(end_of_range or last), last)
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(data)}")
        self.send_header("Content-Type", behaviour.content_type if misbehave else "application/octet-stream")
        for key, value in behaviour.headers.items():
            self.send_header(key, value)
        if behaviour.etag:
            self.send_header("ETag", etag)
        if behaviour.no_length:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(last + 1 - start))
        self.end_headers()
        if self.command == "HEAD":
            return None
        end = last + 1
        if misbehave and behaviour.cut_after is not None:
            end = min(end, start + behaviour.cut_after)
            self.close_connection = True
        for place in range(start, end, behaviour.chunk):
            self.wfile.write(data[place : min(place + behaviour.chunk, end)])
            time.sleep(behaviour.seconds_per_chunk)
        return None

    def _fail(self, status: int, code: str | None, headers: dict[str, str] | None = None) -> None:
        self._answer(
            status, b'{"error": "no"}', "application/json", {**({"X-Error-Code": code} if code else {}), **(headers or {})}
        )

    def _answer(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def running() -> Iterator[FakeHub]:
    """A server that stops at the end of the block."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
