"""The runner of batches: rows become requests to the server's own endpoints, results go to disk one by one."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from llamacli.batch.reader import open_rows, read_rows
from llamacli.batch.results import ResultFile
from llamacli.errors import LlamacliError, StorageError
from llamacli.json_text import parse_json
from llamacli.openai.batch_row import Row
from llamacli.openai.errors import Problem, problem_of
from llamacli.server.batches.store import OUTPUT, RUNNING, BatchStore
from llamacli.store.serving.records import Document

logger = logging.getLogger(__name__)

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
"""The endpoints of batches."""

MOST_ERRORS = 20
"""Faults of an input file that a failed batch tells."""

AT_ONCE = 2
"""Rows of all batches that run at once: what clients wait for comes between them."""

Ask = Callable[[str, str, Any], Awaitable[tuple[int, Any, str]]]
"""Asks an endpoint for an owner: (owner, path, body) to the status, the document and the id of the response."""

_TRY_AGAIN = (429, 503)


class BatchWorker:
    """Runs the batches of a store in the background, and goes on with those that an earlier server left."""

    def __init__(self, store: BatchStore, ask: Ask) -> None:
        self._store = store
        self._ask = ask
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancelling: dict[str, Document] = {}

    def resume(self) -> None:
        """Go on with the batches that are not done."""
        for owner, document in self._store.batches.all():
            if document.get("status") in RUNNING:
                self.start(owner, document)

    def start(self, owner: str, document: Document) -> None:
        """Run a batch."""
        task = asyncio.create_task(self._run(owner, document), name=document["id"])
        self._tasks[document["id"]] = task
        task.add_done_callback(lambda done: self._tasks.pop(document["id"], None))

    def cancel(self, owner: str, document: Document) -> Document:
        """Cancel a batch: rows that run are ended, and what is done is kept. Return its document."""
        task = self._tasks.get(document["id"])
        if document["status"] in RUNNING and task is not None:
            document = {**document, "status": "cancelling", "cancelling_at": int(time.time())}
            self._cancelling[document["id"]] = document
            self._store.batches.put(owner, document)
            task.cancel()
        return document

    async def close(self) -> None:
        """Stop all batches; they go on when a server resumes them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, owner: str, document: Document) -> None:
        try:
            if document["status"] != "cancelling":
                document = await self._answer_all(owner, document)
            status = "cancelled" if document["status"] == "cancelling" else "completed"
        except asyncio.CancelledError:
            counts = document.get("request_counts")
            cancelling = self._cancelling.pop(document["id"], None)
            if cancelling is None:
                raise  # the server ends
            document, status = {**cancelling, "request_counts": counts}, "cancelled"
        except StorageError as error:  # the next server has what was kept, and goes on from there
            logger.error("the batch %s goes on when a server starts: %s", document["id"], error)
            return
        except Exception as error:  # the batch is the boundary
            if not isinstance(error, LlamacliError):
                logger.error("the batch %s failed", document["id"], exc_info=error)
            faults = error.faults if isinstance(error, _FaultyInputError) else [problem_of(error).message]
            data = [{"message": fault, "code": "invalid_request"} for fault in faults]
            document, status = {**document, "errors": {"object": "list", "data": data}}, "failed"
        try:
            await asyncio.to_thread(self._finish, owner, document, status)
        except StorageError as error:
            logger.error("the batch %s goes on when a server starts: %s", document["id"], error)

    async def _answer_all(self, owner: str, document: Document) -> Document:
        """Answer the rows that have no result yet. Return the document with its counts."""
        store, path = self._store, self._store.data_path(document["input_file_id"])
        total, faults = await asyncio.to_thread(_examine, path, document["endpoint"])
        if faults:
            raise _FaultyInputError(faults)
        document |= {"status": "in_progress", "in_progress_at": document["in_progress_at"] or int(time.time())}
        results = await asyncio.to_thread(ResultFile, store.results_path(document["id"]), lambda data: None, resume=True)
        try:
            counts = {"total": total, "completed": results.kept - results.failed, "failed": results.failed}
            document["request_counts"] = counts
            await asyncio.to_thread(store.batches.put, owner, document)
            async for result in self._results(owner, document, results):
                await asyncio.to_thread(results.write, result)
                counts["failed" if result["error"] is not None else "completed"] += 1
                if document["id"] not in self._cancelling:
                    await asyncio.to_thread(store.batches.put, owner, document)
        finally:
            await asyncio.to_thread(results.close)
        return document

    async def _results(self, owner: str, document: Document, done: ResultFile) -> AsyncIterator[Document]:
        """Yield the results of rows as they come, a few rows side by side."""
        rows = (row for row in _rows(self._store.data_path(document["input_file_id"])) if not done.holds(row.number))
        running: set[asyncio.Task[Document]] = set()
        try:
            while True:
                while len(running) < AT_ONCE and (row := next(rows, None)) is not None:
                    running.add(asyncio.ensure_future(self._answer(owner, row)))
                if not running:
                    return
                ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _answer(self, owner: str, row: Row) -> Document:
        """Return the result of a row, an error in its place if it failed."""
        body, pause = row.fields["body"], 0.5
        async with self._places:
            while True:
                status, found, request_id = await self._ask(owner, row.fields["url"], body)
                if status not in _TRY_AGAIN:
                    break
                await asyncio.sleep(pause)
                pause = min(2 * pause, 30.0)
        response = {"status_code": status, "request_id": request_id, "body": found}
        error = found.get("error") if status >= 400 else None
        reported = {"code": error.get("code"), "message": error.get("message")} if isinstance(error, dict) else None
        heading = {"id": f"batch_req_{row.number}", "row": row.number, "custom_id": row.fields["custom_id"]}
        return {**heading, "response": response, "error": reported}

    def _finish(self, owner: str, document: Document, status: str) -> None:
        """Publish the results as files, and close the batch."""
        now, store = int(time.time()), self._store
        document = {**document, "status": status, f"{status}_at": now, "finalizing_at": now}
        path = store.results_path(document["id"])
        if path.exists():
            for name, failed in (("output_file_id", False), ("error_file_id", True)):
                data = b"".join(_published(path.read_bytes(), failed=failed))
                if data:
                    document[name] = store.add_file(owner, f"{document['id']}_{name[:-8]}.jsonl", OUTPUT, data)["id"]
        store.batches.put(owner, document)
        path.unlink(missing_ok=True)


class _FaultyInputError(LlamacliError):
    """Rows of an input file that are no requests."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def _rows(path: Any) -> Iterator[Row]:
    with open_rows(path) as stream:
        yield from read_rows(stream, "jsonl", name="the input file")


def _examine(path: Any, endpoint: str) -> tuple[int, list[str]]:
    """The number of rows, and the first faults: a batch with a faulty row is not begun."""
    total = 0
    faults: list[str] = []
    seen: set[str] = set()
    for row in _rows(path):
        total += 1
        fault = _fault(row, endpoint)
        if fault is None and row.fields["custom_id"] in seen:
            fault = "has the custom_id of an earlier one"
        if fault is not None and len(faults) < MOST_ERRORS:
            faults.append(f"line {row.line} {fault}")
        elif fault is None:
            seen.add(row.fields["custom_id"])
    return total, faults if total else ["the input file has no requests"]


def _fault(row: Row, endpoint: str) -> str | None:
    fields = row.fields
    if row.problem is not None:
        return f"is no request: {row.problem}"
    if not isinstance(fields.get("custom_id"), str):
        return "has no custom_id"
    if fields.get("method", "POST") != "POST" or fields.get("url") != endpoint:
        return f"is no POST of {endpoint}, the endpoint of the batch"
    body = fields.get("body")
    if not isinstance(body, dict):
        return "has no body"
    return "asks for a stream" if body.get("stream") else None


def _published(data: bytes, *, failed: bool) -> Iterator[bytes]:
    """The results that failed, or the others, in the order of the rows and without their numbers."""
    results = sorted((parse_json(line) for line in data.splitlines()), key=lambda result: result["row"])
    for result in results:
        if (result["error"] is not None) == failed:
            del result["row"]
            yield json.dumps(result, ensure_ascii=False).encode() + b"\n"


def status_problem(status: int, message: str) -> Problem:
    """Return a problem of a batch or a file."""
    return Problem(status=status, message=message, code="not_found" if status == 404 else "invalid_value")
