"""Files and batches with OpenAI's client: in order, with errors in their place, cancelled, resumed by the next server."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from serving import LiveServer, serving, spec_of, wait_for

from llamacli.errors import UsageError
from llamacli.server.batches.store import BatchStore
from llamacli.server.http.multipart import Part, parse_form
from llamacli.store.serving.records import RecordStore

CHAT = "/v1/chat/completions"


def rows(count: int, **fields: Any) -> list[dict[str, Any]]:
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0, **fields}
    return [{"custom_id": f"row {number}", "method": "POST", "url": CHAT, "body": body} for number in range(count)]


def upload(client: openai.OpenAI, documents: list[dict[str, Any]]) -> str:
    data = "".join(json.dumps(one) + "\n" for one in documents).encode()
    return client.files.create(file=("rows.jsonl", data), purpose="batch").id


def finished(client: openai.OpenAI, identity: str) -> Any:
    end = time.monotonic() + 60
    while (batch := client.batches.retrieve(identity)).status in ("validating", "in_progress", "finalizing", "cancelling"):
        assert time.monotonic() < end
        time.sleep(0.02)
    return batch


def start(client: openai.OpenAI, documents: list[dict[str, Any]]) -> str:
    return client.batches.create(input_file_id=upload(client, documents), endpoint=CHAT, completion_window="24h").id


def lines(client: openai.OpenAI, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def worker_tasks(server: LiveServer) -> list[str]:
    """The batches that run."""
    names = (task.get_name() for task in asyncio.all_tasks(server.loop))
    return [name for name in names if name.startswith("batch_")]


@pytest.fixture
def store(tmp_path: Path) -> BatchStore:
    return BatchStore(tmp_path / "kept")


@pytest.fixture
def server(tiny_model: Path, store: BatchStore) -> Iterator[LiveServer]:
    with serving(spec_of(tiny_model), batches=store) as live:
        yield live


def connected(server: LiveServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.base}/v1", api_key="none", max_retries=0)


@pytest.fixture
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with connected(server) as client:
        yield client


def test_a_batch_gives_the_answers_of_its_rows_in_order(server: LiveServer, client: openai.OpenAI) -> None:
    documents = [*rows(4), *rows(1, top_p="x"), *rows(1, model="gpt-9"), *rows(3)]
    for number, document in enumerate(documents):
        document["custom_id"] = f"row {number}"
    batch = finished(client, start(client, documents))
    assert batch.status == "completed"
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (9, 7, 2)
    found = lines(client, batch.output_file_id)
    assert [one["custom_id"] for one in found] == [f"row {number}" for number in (0, 1, 2, 3, 6, 7, 8)]
    alone = server.post(CHAT, rows(1)[0]["body"]).json()
    assert all(one["response"]["body"]["choices"] == alone["choices"] for one in found)
    failed = lines(client, batch.error_file_id)
    assert [(one["custom_id"], one["response"]["status_code"]) for one in failed] == [("row 4", 400), ("row 5", 404)]
    assert "top_p" in failed[0]["error"]["message"]
    assert [one.id for one in client.batches.list()] == [batch.id]


def test_files_are_kept_listed_and_removed(client: openai.OpenAI) -> None:
    identity = upload(client, rows(2))
    assert client.files.retrieve(identity).filename == "rows.jsonl"
    assert [file.id for file in client.files.list(purpose="batch")] == [identity]
    assert len(client.files.content(identity).text.splitlines()) == 2
    assert client.files.delete(identity).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(identity)
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.files.create(file=("x", b"x"), purpose="fine-tune")
    for identity in ("file-../../etc/passwd", "file-" + "0" * 24):
        with pytest.raises(openai.NotFoundError):
            client.files.content(identity)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"custom_id": 3}, "line 2 has no custom_id"),
        ({"url": "/v1/embeddings"}, "line 2 is no POST of /v1/chat/completions"),
        ({"method": "GET"}, "line 2 is no POST"),
        ({"body": []}, "line 2 has no body"),
        ({"custom_id": "row 0"}, "line 2 has the custom_id of an earlier one"),
        ({"body": {"stream": True}}, "line 2 asks for a stream"),
    ],
)
def test_a_batch_with_a_faulty_row_is_not_begun(client: openai.OpenAI, change: dict[str, Any], words: str) -> None:
    first, second = rows(2)
    batch = finished(client, start(client, [first, {**second, **change}]))
    assert batch.status == "failed"
    assert words in batch.errors.data[0].message
    assert batch.output_file_id is None


def test_an_empty_batch_fails(client: openai.OpenAI) -> None:
    assert finished(client, start(client, [])).status == "failed"
    with pytest.raises(openai.BadRequestError, match="input_file_id"):
        client.batches.create(input_file_id="file-1", endpoint=CHAT, completion_window="24h")


def test_a_cancelled_batch_keeps_what_is_done(server: LiveServer, client: openai.OpenAI) -> None:
    identity = start(client, rows(500))
    wait_for(lambda: client.batches.retrieve(identity).request_counts.completed >= 2)
    assert client.batches.cancel(identity).status == "cancelling"
    batch = finished(client, identity)
    assert batch.status == "cancelled"
    assert 2 <= len(lines(client, batch.output_file_id)) < 500
    server.wait_until_idle()


def test_a_batch_goes_on_after_a_restart(tiny_model: Path, store: BatchStore) -> None:
    with serving(spec_of(tiny_model), batches=store) as server, connected(server) as client:
        identity = start(client, rows(60))
        wait_for(lambda: client.batches.retrieve(identity).request_counts.completed >= 3)
    before = store.results_path(identity).read_bytes().count(b"\n")
    assert 3 <= before < 60
    with serving(spec_of(tiny_model), batches=store) as server, connected(server) as client:
        batch = finished(client, identity)
        assert batch.status == "completed"
        assert batch.request_counts.completed == 60
        assert [one["custom_id"] for one in lines(client, batch.output_file_id)] == [f"row {n}" for n in range(60)]
        answered = 'llamacli_requests_total{path="batch",status="200"} '
        text = server.get("/metrics").body.decode()
        count = float(text.split(answered)[1].split()[0])
        assert count <= 60 - before


def test_a_full_disk_stops_no_server(tiny_model: Path, store: BatchStore, monkeypatch: pytest.MonkeyPatch) -> None:
    full, fsync = threading.Event(), os.fsync

    def sync(descriptor: int) -> None:
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr("llamacli.store.files.atomic.os.fsync", sync)
    with serving(spec_of(tiny_model), batches=store) as server:
        with connected(server) as client:
            identity = start(client, rows(100))
            wait_for(lambda: client.batches.retrieve(identity).request_counts.completed >= 2)
            full.set()
            with pytest.raises(openai.InternalServerError, match="No space left on device") as refused:
                upload(client, rows(1))
            assert refused.value.status_code == 507
            wait_for(lambda: identity not in worker_tasks(server))
            assert client.batches.retrieve(identity).status == "in_progress"
            assert server.post(CHAT, rows(1)[0]["body"]).status == 200
        assert server.get("/health").status == 200
    full.clear()
    with serving(spec_of(tiny_model), batches=store) as server, connected(server) as client:
        batch = finished(client, identity)
        assert (batch.status, batch.request_counts.completed) == ("completed", 100)
        assert [one["custom_id"] for one in lines(client, batch.output_file_id)] == [f"row {n}" for n in range(100)]


def test_two_servers_do_not_share_a_folder(store: BatchStore, tmp_path: Path) -> None:
    assert store.hold()
    assert not BatchStore(tmp_path / "kept").hold()


def test_a_record_that_is_damaged_is_not_there(tmp_path: Path) -> None:
    records = RecordStore(tmp_path, "file-")
    identity = records.new_id()
    records.put("me", {"id": identity, "created_at": 1})
    assert records.find("me", identity) == {"id": identity, "created_at": 1}
    assert records.find("you", identity) is None
    for text in (b"", b"[]", b'{"owner": "me"}', b'{"owner": "me", "document": {"id": "file-x"}}'):
        records.path(identity, ".json").write_bytes(text)
        assert records.find("me", identity) is None
        assert list(records.all()) == []


def test_a_form_has_parts() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a \\"b\\".jsonl"\r\n\r\n1\r\n\n--y\r\n\r\n--x--\r\n'
    )
    parts = parse_form("multipart/form-data; boundary=x", body)
    assert parts == [Part("purpose", None, b"batch"), Part("file", 'a "b".jsonl', b"1\r\n\n--y\r\n")]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb"),
        ("multipart/form-data; boundary=x", b"--x\r\nno head\r\n--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\nA: b\r\n\r\nc\r\n--x--"),
    ],
)
def test_what_is_no_form_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(UsageError):
        parse_form(kind, body)
