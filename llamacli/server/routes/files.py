"""`/v1/files` and `/v1/batches`: what clients upload, and the batches that they start with it."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs

from llamacli.errors import UsageError
from llamacli.openai.fields import Fields
from llamacli.server.batches.store import INPUT, BatchStore
from llamacli.server.batches.worker import ENDPOINTS, BatchWorker, status_problem
from llamacli.server.http.asgi import header
from llamacli.server.http.exchange import Exchange, RefusedError
from llamacli.server.http.multipart import parse_form
from llamacli.store.serving.records import Document, RecordStore

FILE_BYTES = 200 << 20
"""Largest file: OpenAI's limit for batches."""

_MOST_LISTED = 10000


class Files:
    """The endpoints of files. A client sees its own only."""

    def __init__(self, store: BatchStore) -> None:
        self._store = store

    async def create(self, exchange: Exchange) -> None:
        """Keep a file."""
        form = await asyncio.to_thread(parse_form, header(exchange.scope, b"content-type") or "", exchange.body)
        fields = {part.name: part for part in form}
        for name in fields:
            if name not in ("file", "purpose"):
                raise UsageError(f"{name} is not supported", parameter=name)
        if "file" not in fields or fields["file"].file_name is None:
            raise UsageError("file is missing", parameter="file")
        purpose = fields["purpose"].data.decode("utf-8", "replace") if "purpose" in fields else ""
        if purpose != INPUT:
            raise UsageError(f"purpose must be {INPUT}", parameter="purpose")
        file, owner = fields["file"], exchange.record.client
        name = (file.file_name or "file")[:255]
        await exchange.reply_json(await asyncio.to_thread(self._store.add_file, owner, name, purpose, file.data))

    async def list_all(self, exchange: Exchange) -> None:
        """List the files."""
        wanted = _query(exchange).get("purpose")
        found = await asyncio.to_thread(_listed, self._store.files, exchange)
        await exchange.reply_json(_page(exchange, [one for one in found if wanted in (None, one["purpose"])]))

    async def retrieve(self, exchange: Exchange) -> None:
        """Describe a file."""
        await exchange.reply_json(_find(self._store.files, exchange, "file"))

    async def content(self, exchange: Exchange) -> None:
        """Send the content of a file."""
        document = _find(self._store.files, exchange, "file")
        data = await asyncio.to_thread(self._store.data_path(document["id"]).read_bytes)
        await exchange.reply(data, headers=[(b"content-type", b"application/octet-stream")])

    async def delete(self, exchange: Exchange) -> None:
        """Remove a file."""
        document = _find(self._store.files, exchange, "file")
        self._store.files.remove(document["id"], ".data")
        await exchange.reply_json({"id": document["id"], "object": "file", "deleted": True})


class Batches:
    """The endpoints of batches. A client sees its own only."""

    def __init__(self, store: BatchStore, worker: BatchWorker) -> None:
        self._store = store
        self._worker = worker

    async def create(self, exchange: Exchange) -> None:
        """Start a batch."""
        fields = Fields(await exchange.json())
        file_id = fields.required_text("input_file_id")
        endpoint = fields.choice("endpoint", ENDPOINTS)
        if endpoint is None:
            raise fields.fault("endpoint", "is missing")
        window = fields.choice("completion_window", ("24h",)) or "24h"
        metadata = fields.value("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            raise fields.fault("metadata", "must be an object")
        fields.finish()
        owner = exchange.record.client
        if self._store.files.find(owner, file_id) is None:
            raise fields.fault("input_file_id", "does not name a file")
        document = await asyncio.to_thread(self._store.add_batch, owner, file_id, endpoint, window, metadata)
        self._worker.start(owner, document)
        await exchange.reply_json(document)

    async def list_all(self, exchange: Exchange) -> None:
        """List the batches."""
        await exchange.reply_json(_page(exchange, await asyncio.to_thread(_listed, self._store.batches, exchange)))

    async def retrieve(self, exchange: Exchange) -> None:
        """Describe a batch."""
        await exchange.reply_json(_find(self._store.batches, exchange, "batch"))

    async def cancel(self, exchange: Exchange) -> None:
        """Cancel a batch."""
        document = _find(self._store.batches, exchange, "batch")
        await exchange.reply_json(self._worker.cancel(exchange.record.client, document))


def _find(records: RecordStore, exchange: Exchange, kind: str) -> Document:
    identity = exchange.path_params["id"]
    found = records.find(exchange.record.client, identity)
    if found is None:
        raise RefusedError(status_problem(404, f"there is no {kind} {identity[:100]!r}"))
    return found


def _listed(records: RecordStore, exchange: Exchange) -> list[Document]:
    return [document for owner, document in records.all() if owner == exchange.record.client]


def _query(exchange: Exchange) -> dict[str, str]:
    found = parse_qs(exchange.scope.get("query_string", b"").decode("latin-1"))
    return {name: values[-1] for name, values in found.items()}


def _page(exchange: Exchange, found: list[Document]) -> Document:
    """A page of documents, from the one behind the id `after`."""
    query = _query(exchange)
    limit = query.get("limit", str(_MOST_LISTED))
    if not limit.isdecimal() or not 1 <= int(limit) <= _MOST_LISTED:
        raise UsageError(f"limit must be from 1 to {_MOST_LISTED}", parameter="limit")
    start = next((place + 1 for place, one in enumerate(found) if one["id"] == query.get("after")), 0)
    page: list[Any] = found[start : start + int(limit)]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + int(limit) < len(found),
    }
