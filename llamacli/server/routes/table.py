"""The endpoints by method and path."""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import BaseRoute, Route

from llamacli.server.batches.worker import BatchWorker
from llamacli.server.http.endpoint import Endpoint, Handler
from llamacli.server.routes.completions import Completions
from llamacli.server.routes.description import PATH, Description, openapi
from llamacli.server.routes.files import FILE_BYTES, Batches, Files
from llamacli.server.routes.messages import PREFIX, Messages
from llamacli.server.routes.page import page
from llamacli.server.routes.responses import Responses
from llamacli.server.routes.status import Status
from llamacli.server.routes.texts import Texts
from llamacli.server.state import ServerState

Row = tuple[str, str, Handler]


def routes(state: ServerState, worker: BatchWorker | None) -> list[BaseRoute]:
    """Return the routes, with and without `/v1` where clients know both. Without a worker there are no files and batches."""
    completions, texts, status = Completions(state), Texts(state), Status(state)
    responses, messages = Responses(state), Messages(state)
    both: list[Row] = [
        ("GET", "/models", status.models),
        ("GET", "/models/{name:path}", status.model),
        ("POST", "/chat/completions", completions.chat),
        ("POST", "/completions", completions.text),
        ("POST", "/responses", responses.create),
        ("POST", "/responses/input_tokens", responses.count),
        ("GET", "/responses/{id}", responses.retrieve),
        ("DELETE", "/responses/{id}", responses.delete),
        ("POST", "/responses/{id}/cancel", responses.cancel),
        ("GET", "/responses/{id}/input_items", responses.items),
        ("POST", "/embeddings", texts.embeddings),
        ("POST", "/rerank", texts.rerank),
        ("POST", "/reranking", texts.rerank),
        ("POST", "/tokenize", texts.tokenize),
        ("POST", "/detokenize", texts.detokenize),
        ("POST", "/apply-template", texts.apply_template),
        ("GET", "/health", status.health),
    ]
    alone: list[Row] = [
        ("POST", PREFIX, messages.create),
        ("POST", f"{PREFIX}/count_tokens", messages.count),
        ("POST", "/infill", completions.infill),
        ("POST", "/completion", completions.native),
        ("POST", "/embedding", texts.native_embedding),
        ("GET", "/", page),
        ("GET", "/props", status.props),
        ("GET", "/slots", status.slots),
        ("GET", "/metrics", status.metrics),
        ("GET", "/tokenizer_info", texts.tokenizer_info),
    ]
    paths = [(method, prefix + path, handler) for method, path, handler in both for prefix in ("/v1", "")] + alone
    found: list[BaseRoute] = [Route(path, _app(handler), methods=[method]) for method, path, handler in paths]
    found += _file_routes(state, worker) if worker is not None else []
    description = Description()
    found.append(Route(PATH, _app(description.openapi), methods=["GET"]))
    description.document = openapi(found)
    return found


def _file_routes(state: ServerState, worker: BatchWorker) -> list[BaseRoute]:
    assert state.batches is not None
    files, batches = Files(state.batches), Batches(state.batches, worker)
    rows: list[Row] = [
        ("GET", "/v1/files", files.list_all),
        ("GET", "/v1/files/{id}", files.retrieve),
        ("GET", "/v1/files/{id}/content", files.content),
        ("DELETE", "/v1/files/{id}", files.delete),
        ("POST", "/v1/batches", batches.create),
        ("GET", "/v1/batches", batches.list_all),
        ("GET", "/v1/batches/{id}", batches.retrieve),
        ("POST", "/v1/batches/{id}/cancel", batches.cancel),
    ]
    upload = Route("/v1/files", _app(files.create, body_limit=FILE_BYTES), methods=["POST"])
    return [upload, *(Route(path, _app(handler), methods=[method]) for method, path, handler in rows)]


def _app(handler: Handler, *, body_limit: int | None = None) -> Callable[..., object]:
    return Endpoint(handler, body_limit=body_limit)
