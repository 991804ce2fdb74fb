"""A server for the page: it answers with what a test gives it, in the documents that the real one makes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from llamacli.engine.events import Answer, AnswerEvent, Piece, Prefill
from llamacli.errors import LlamacliError
from llamacli.openai.documents import Documents, totals
from llamacli.openai.errors import problem_of
from llamacli.openai.response import Heading
from llamacli.server.page import load_page

Answers = Callable[[dict[str, Any]], Iterator[AnswerEvent]]


class ChatServer:
    """Serves on a free port of this machine. `asked` are the bodies of the requests for answers, `left` counts those stopped.

    `pause` are the seconds before each event. With `key`, all but the page and `/health` need it.
    """

    def __init__(self, answers: Answers, *, vision: bool = False, key: str | None = None, pause: float = 0.0) -> None:
        self.answers = answers
        self.vision = vision
        self.key = key
        self.pause = pause
        self.loading = 0  # times that /health says that the model is loading
        self.asked: list[dict[str, Any]] = []
        self.left = 0
        self.error: tuple[int, str] | None = None
        outer = self

        class Handler(_Handler):
            server_state = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_state: ChatServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        state = self.server_state
        if self.path == "/":
            page = load_page()
            self._reply(200, page.body, dict(page.headers))
        elif self.path == "/health":
            state.loading -= 1
            if state.loading >= 0:
                self._json(503, {"status": "loading model", "progress": 0.5})
            else:
                self._json(200, {"status": "ok"})
        elif not self._is_allowed():
            self._json(401, {"error": {"message": "a valid API key is needed"}})
        elif self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [{"id": "tiny"}, {"id": "vectors", "meta": {"can_generate": False}}]})
        elif self.path == "/props":
            self._json(200, {"modalities": {"vision": state.vision, "audio": False}})
        else:
            self._json(404, {"error": {"message": f"there is no {self.path}"}})

    def do_POST(self) -> None:
        state = self.server_state
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self._is_allowed():
            self._json(401, {"error": {"message": "a valid API key is needed"}})
            return
        state.asked.append(body)
        if state.error is not None:
            self._json(state.error[0], {"error": {"message": state.error[1]}})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for chunk in _chunks(body, state.answers(body)):
                time.sleep(state.pause)
                self.wfile.write(b": a comment\n\ndata: " + json.dumps(chunk).encode() + b"\n\n")
                self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            state.left += 1
        except LlamacliError as error:
            self.wfile.write(b"data: " + json.dumps(problem_of(error).document()).encode() + b"\n\n")

    def _is_allowed(self) -> bool:
        key = self.server_state.key
        return key is None or self.headers.get("authorization") == f"Bearer {key}"

    def _json(self, status: int, document: Any) -> None:
        self._reply(status, json.dumps(document).encode(), {"content-type": "application/json"})

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _chunks(body: dict[str, Any], events: Iterator[AnswerEvent]) -> Iterator[dict[str, Any]]:
    documents = Documents(heading=Heading("tiny"), logprobs=bool(body.get("logprobs")))
    for event in events:
        if isinstance(event, Prefill):
            progress = {"total": event.total, "processed": event.done}
            yield documents.heading.document([], chunk=True, prompt_progress=progress)
            yield documents.first_chunk(0)
        elif isinstance(event, Piece):
            yield from documents.chunks(event)
        elif isinstance(event, Answer):
            yield documents.last_chunk(event)
            yield documents.heading.document([], chunk=True, **totals([event]))
