"""`/health`, `/v1/models`, `/props`, `/slots` and `/metrics`: what the server is and does."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from llamacli.openai.errors import Problem
from llamacli.openai.native import slots_document
from llamacli.openai.response import Document
from llamacli.server.http.exchange import Exchange, RefusedError
from llamacli.server.metrics import CONTENT_TYPE
from llamacli.server.state import ServerState
from llamacli.version import VERSION


class Status:
    """The endpoints about the server itself."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def health(self, exchange: Exchange) -> None:
        """Answer 200 if the default model is there, 503 with the progress while it is loading."""
        pool = self._state.pool
        kind, progress = pool.state_of(pool.default)
        if self._state.is_draining:
            await exchange.reply_json({"status": "shutting down"}, status=503)
        elif kind == "loading":
            document = {"status": "loading model", "model": pool.default, "progress": round(progress or 0.0, 3)}
            await exchange.reply_json(document, status=503, headers=[(b"retry-after", b"1")])
        elif kind == "failed":
            await exchange.reply_json({"status": "error", "model": pool.default}, status=503)
        else:
            await exchange.reply_json({"status": "ok"})

    async def models(self, exchange: Exchange) -> None:
        """List the models, loaded or not."""
        pool = self._state.pool
        await exchange.reply_json({"object": "list", "data": [self._model(name) for name in pool.names]})

    async def model(self, exchange: Exchange) -> None:
        """Describe one model by any of its names."""
        await exchange.reply_json(self._model(self._state.pool.find(exchange.path_params["name"])))

    async def props(self, exchange: Exchange) -> None:
        """Describe the default model as llama-server does."""
        pool = self._state.pool
        async with pool.use(None) as model:
            described = model.description
            document: dict[str, Any] = {
                "build_info": f"llamacli {VERSION}",
                "model_alias": model.name,
                "model_path": described.model,
                "total_slots": described.n_parallel,
                "chat_template": described.chat_template or "",
                "modalities": {"vision": "image" in described.takes, "audio": "audio" in described.takes},
                "default_generation_settings": {"n_ctx": described.n_ctx},
                "is_sleeping": False,
            }
        await exchange.reply_json(document)

    async def slots(self, exchange: Exchange) -> None:
        """Tell which slots of the default model answer."""
        query = parse_qs(exchange.scope.get("query_string", b"").decode("latin-1"))
        async with self._state.pool.use(None) as model:
            count, busy = model.description.n_parallel, model.admission.running
            document = slots_document(count, busy, model.description.n_ctx)
        if busy >= count and query.get("fail_on_no_slot", ["0"])[0] == "1":
            raise RefusedError(Problem(status=503, message="no slot is free", type="server_error", code="no_slot"))
        await exchange.reply_json(document)

    async def metrics(self, exchange: Exchange) -> None:
        """Tell all measurements in Prometheus' format."""
        self._state.write_notes()
        await exchange.reply(self._state.metrics.text(), headers=[(b"content-type", CONTENT_TYPE)])

    def _model(self, name: str) -> Document:
        pool = self._state.pool
        kind, progress = pool.state_of(name)
        loaded = next((model for model in pool.loaded() if model.name == name), None)
        document: Document = {
            "id": name,
            "object": "model",
            "created": int(loaded.loaded_at) if loaded is not None else 0,
            "owned_by": "llamacli",
            "aliases": list(pool.spec_of(name).aliases),
            "status": {"value": kind, **({"progress": round(progress, 3)} if progress is not None else {})},
        }
        if loaded is not None:
            described = loaded.description
            document["meta"] = {
                "kind": described.kind,
                "n_ctx": described.n_ctx,
                "n_ctx_train": described.n_ctx_train,
                "n_vocab": described.n_vocab,
                "n_embd": described.n_embd,
                "n_parallel": described.n_parallel,
                "size": described.size,
                "pooling": described.pooling,
                "can_generate": described.can_generate,
            }
        return document
