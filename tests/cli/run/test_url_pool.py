"""`run --input` over several servers: what dies, is slow or is busy loses no row, doubles none, and keeps the order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from fakes import Result, invoke
from odd_server import Asked, Script, answered, chunk, chunked, odd_server, refused

from llamacli.backend.remote import retry

ROWS = 60


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(retry, "_MOST_SECONDS", 0.02)


def echo(asked: Asked) -> bytes:
    return answered(asked.document["messages"][0]["content"].upper())


def slow(asked: Asked) -> bytes:
    time.sleep(0.05)
    return echo(asked)


def dies_after(count: int, dead: bytes) -> Callable[[Asked], bytes]:
    """Answers so many requests, and breaks off all others."""
    lock, seen = threading.Lock(), [0]

    def answer(asked: Asked) -> bytes:
        with lock:
            seen[0] += 1
            return echo(asked) if seen[0] <= count else dead

    return answer


def run(scripts: list[Script], tmp_path: Path, *arguments: str) -> Result:
    rows = tmp_path / "rows.txt"
    rows.write_text("\n".join(f"row {number}" for number in range(ROWS)))
    with ExitStack() as stack:
        urls = [word for script in scripts for word in ("--url", stack.enter_context(odd_server(script)))]
        return invoke("run", *urls, "--input", str(rows), *arguments)


def texts(done: Result) -> list[str]:
    return [json.loads(line).get("text") for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "dead",
    [chunked(chunk("ROW"), ends=False), chunked(), refused(500), refused(502, "bad gateway")],
    ids=["broken", "empty", "failing", "unreachable"],
)
def test_a_server_that_dies_loses_no_row(dead: bytes, tmp_path: Path) -> None:
    scripts = [Script([echo]), Script([dies_after(5, dead)]), Script([slow])]
    done = run(scripts, tmp_path)
    assert done.status == 0, done.stderr
    assert texts(done) == [f"ROW {number}" for number in range(ROWS)]
    assert all(script.posts for script in scripts)


def test_the_faster_server_gets_more_rows(tmp_path: Path) -> None:
    scripts = [Script([echo]), Script([slow])]
    done = run(scripts, tmp_path, "--parallel", "2")
    assert texts(done) == [f"ROW {number}" for number in range(ROWS)]
    assert len(scripts[0].posts) > 2 * len(scripts[1].posts)
    assert sum(len(script.posts) for script in scripts) == ROWS


def test_a_server_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    with odd_server(Script()) as gone:
        pass
    script = Script([echo])
    rows = tmp_path / "rows.txt"
    rows.write_text("row 0\nrow 1")
    with odd_server(script) as address:
        done = invoke("run", "--url", gone, "--url", address, "--input", str(rows))
        one = invoke("run", "--url", gone, "--url", address, "hi")
    assert (done.status, texts(done)) == (0, ["ROW 0", "ROW 1"])
    assert (one.status, one.stdout) == (0, "HI\n")


def test_when_all_are_lost_what_is_done_is_kept_and_resumed(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    done = run([Script([dies_after(7, chunked())])], tmp_path, "--output", str(output))
    assert done.status == 7
    kept = len(output.read_text().splitlines())
    assert 0 < kept <= 7
    script = Script([echo])
    resumed = run([script], tmp_path, "--output", str(output), "--resume")
    assert resumed.status == 0, resumed.stderr
    assert [json.loads(line)["text"] for line in output.read_text().splitlines()] == [f"ROW {number}" for number in range(ROWS)]
    assert len(script.posts) == ROWS - kept


def test_a_prompt_fails_over_only_before_its_text(tmp_path: Path) -> None:
    for first, status, text in (
        (refused(500), 0, "HI\n"),
        (chunked(), 0, "HI\n"),
        (chunked(chunk("Half"), ends=False), 7, "Half\n"),
    ):
        with odd_server(Script([first])) as broken, odd_server(Script([echo])) as whole:
            done = invoke("run", "--url", broken, "--url", whole, "hi")
        assert (done.status, done.stdout) == (status, text)
