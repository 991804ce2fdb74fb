"""`--dask`: rows and texts over processes of a cluster, in order, and complete when one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import distributed
import pytest
from fakes import Result, invoke
from pictures import picture
from tiny_vision import COLOURS, Seeing

from llamacli.backend.cluster.cluster import Cluster
from llamacli.cli.framework.options.cluster import parse_cluster

ROWS = 60


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"row {number}", "max_tokens": 8}) + "\n" for number in range(ROWS)))
    return path


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two processes."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield str(cluster.scheduler_address)


def run(address: str, model: Path, rows: Path, *arguments: str) -> Result:
    return invoke("run", "--dask", address, "-m", str(model), "--temp", "0", "-t", "1", "--input", str(rows), *arguments)


@pytest.mark.filterwarnings("ignore")
def test_answers_are_those_of_one_engine_in_order(address: str, tiny_model: Path, rows: Path) -> None:
    from llamacli.cli.framework.context import open_engine

    done = run(address, tiny_model, rows, "--parallel", "1")
    assert done.status == 0, done.stderr
    alone = invoke(
        "run", "-m", str(tiny_model), "--temp", "0", "-t", "1", "--input", str(rows), "--parallel", "1",
        open_engine=open_engine, find_model=lambda *a, **k: tiny_model,
    )  # fmt: skip
    texts, wanted = ([(one["row"], one["text"]) for one in map(json.loads, text.splitlines())] for text in
                     (done.stdout, alone.stdout))  # fmt: skip
    assert texts == wanted
    assert len(texts) == ROWS


@pytest.mark.filterwarnings("ignore")
def test_processes_of_this_machine_alone(tiny_model: Path, rows: Path) -> None:
    done = run("local:2", tiny_model, rows)
    assert done.status == 0, done.stderr
    assert [json.loads(line)["row"] for line in done.stdout.splitlines()] == list(range(ROWS))


@pytest.mark.filterwarnings("ignore")
def test_a_row_that_fails_fails_alone(address: str, tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "one", "max_tokens": 4}\n{"prompt": 7}\n{"prompt": "three", "max_tokens": 4}\n')
    done = run(address, tiny_model, path)
    assert done.status == 6
    assert ["error" in json.loads(line) for line in done.stdout.splitlines()] == [False, True, False]


@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_loses_no_row(address: str, tiny_model: Path, tmp_path: Path, rows: Path) -> None:
    output = tmp_path / "out.jsonl"
    killed = threading.Event()

    def kill() -> None:
        with distributed.Client(address, set_as_default=False) as client:
            end = time.monotonic() + 60
            while (not output.exists() or output.read_text().count("\n") < 5) and time.monotonic() < end:
                time.sleep(0.01)
            pids = client.run(os.getpid)
            os.kill(next(iter(pids.values())), signal.SIGKILL)
            killed.set()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        done = run(address, tiny_model, rows, "--output", str(output), "--parallel", "2")
    finally:
        thread.join()
    assert killed.is_set()
    assert done.status == 0, done.stderr
    results = [json.loads(line) for line in output.read_text().splitlines()]
    assert [one["row"] for one in results] == list(range(ROWS))


@pytest.mark.filterwarnings("ignore")
def test_texts_are_embedded_in_order(address: str, tiny_embedding_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(f"text {number}" for number in range(200)))
    arguments = ("-m", str(tiny_embedding_model), "-t", "1", "--input", str(path), "--jsonl")
    done = invoke("embed", "--dask", address, *arguments)
    assert done.status == 0, done.stderr
    alone = invoke("embed", *arguments, find_model=lambda *a, **k: tiny_embedding_model)
    for one, other in zip(done.stdout.splitlines(), alone.stdout.splitlines(), strict=True):
        assert json.loads(one)["embedding"] == pytest.approx(json.loads(other)["embedding"], abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_is_not_there_is_an_error_of_this_command(address: str, rows: Path, tmp_path: Path) -> None:
    done = run(address, tmp_path / "none.gguf", rows)
    assert done.status == 3
    assert done.stderr.count("error:") == 1


@pytest.mark.parametrize("text", ["", "local", "local:0", "local:x", "host", "http://host:1", "host:port"])
def test_wrong_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        parse_cluster(text)


@pytest.mark.parametrize("arguments", [("hi",), ("--url", "http://127.0.0.1:1", "--input", "x.jsonl")])
def test_it_is_for_rows_here(arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.jsonl").write_text('"hi"\n')
    assert invoke("run", "--dask", "local:2", *arguments).status == 2


def test_nobody_there_is_status_7(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("llamacli.backend.cluster.cluster._CONNECT_SECONDS", 1)
    from llamacli.errors import RemoteError

    with pytest.raises(RemoteError, match="cannot reach"):
        Cluster("127.0.0.1:1")


@pytest.mark.filterwarnings("error:Sending large graph")
def test_rows_with_pictures(address: str, seeing: Seeing, tmp_path: Path) -> None:
    for colour in COLOURS:
        (tmp_path / f"{colour}.png").write_bytes(picture(colour, (800, 800)))
    rows = [{"image": f"{tmp_path}/{colour}.png", "max_tokens": 3} for colour in (*COLOURS, "no", *COLOURS)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = seeing("idefics3").model
    done = run(address, model, path, "--template", "{image} What is it?")
    assert done.status == 6, done.stderr
    texts = [json.loads(line).get("text", "").strip() for line in done.stdout.splitlines()]
    assert texts == [*COLOURS, "", *COLOURS]
    refused = run(address, model, path, "--template", "{image} What is it?", "--no-mmproj")
    errors = {json.loads(line)["error"]["message"] for line in refused.stdout.splitlines() if "no.png" not in line}
    assert (refused.status, len(errors)) == (6, 1)
    assert "this model takes no images" in errors.pop()
