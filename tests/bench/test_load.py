"""`bench --url`: what the client counts is what the server did, and a server that fails is a figure, too."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import Result, invoke
from odd_server import Asked, Script, answered, chunk, chunked, odd_server, refused, response
from serving import LiveServer, serving, spec_of

from llamacli.backend.remote.access import clients_of
from llamacli.bench.load.params import LoadTest, Objective, Request, Sample
from llamacli.bench.load.prompts import read_prompts
from llamacli.bench.load.run import timed
from llamacli.cli.bench.load_options import read_objective
from llamacli.cli.framework.console import Terminals
from llamacli.errors import UsageError


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[LiveServer]:
    with serving(spec_of(tiny_model, n_ctx=512)) as live:
        yield live


def bench(address: str, *arguments: str, **more: Any) -> Result:
    return invoke("bench", "--url", address, "--no-save", *arguments, **more)


def rows_of(done: Result) -> list[dict[str, Any]]:
    assert done.status == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def metric(server: LiveServer, name: str) -> float:
    found = re.findall(rf"^llamacli_{name}{{.*}} (\S+)$", server.get("/metrics").body.decode(), re.MULTILINE)
    return sum(map(float, found))


def test_the_client_counts_what_the_server_did(server: LiveServer) -> None:
    names = ("completion_tokens_total", "prompt_tokens_total", "request_seconds_sum", "time_to_first_token_seconds_sum")
    before = {name: metric(server, name) for name in names}
    rows = rows_of(
        bench(server.base, "--concurrency", "1,3", "--requests", "6", "-p", "40", "-n", "7", "-o", "jsonl", "--no-warmup")
    )
    generated, prompts, seconds, first = (metric(server, name) - start for name, start in before.items())
    assert [row["n_parallel"] for row in rows] == [1, 3]
    assert [row["test"] for row in rows] == ["load x1 pp40+tg7", "load x3 pp40+tg7"]
    for row in rows:
        load = row["load"]
        assert (row["repetitions"], load["requests"], load["errors"]) == (6, 6, {})
        assert (load["prompt_tokens"], load["completion_tokens"]) == (240, 42)
        assert row["avg_ts"] == pytest.approx(42 / load["seconds"], rel=0.01)
        for times in (load["ttft_ms"], load["itl_ms"], load["latency_ms"]):
            assert 0 <= times["p50"] <= times["p90"] <= times["p99"]
        assert load["latency_ms"]["p50"] >= load["ttft_ms"]["p50"] > 0
    assert generated == pytest.approx(84, rel=0.05)
    assert prompts == pytest.approx(480, rel=0.05)
    assert sum(sum(row["samples_ns"]) for row in rows) / 1e9 == pytest.approx(seconds, rel=0.05, abs=0.1)
    assert sum(row["load"]["ttft_ms"]["p50"] * 6 for row in rows) / 1e3 == pytest.approx(first, rel=0.5, abs=0.1)


def test_a_warm_prefix_is_evaluated_once(server: LiveServer) -> None:
    arguments = ("--requests", "6", "-p", "200", "-n", "2", "-o", "jsonl")
    (cold,) = rows_of(bench(server.base, *arguments))
    (warm,) = rows_of(bench(server.base, *arguments, "--warm-prefix"))
    assert cold["load"]["cached_tokens"] < 60
    assert warm["load"]["cached_tokens"] > 900
    assert warm["workload"] == "load warm"


def test_requests_at_random_times_end_after_their_number_or_seconds(server: LiveServer) -> None:
    (row,) = rows_of(bench(server.base, "--rate", "100", "--requests", "20", "-p", "4", "-n", "2", "-o", "jsonl"))
    assert row["load"]["requests"] == 20
    assert row["test"] == "load 100/s pp4+tg2"
    started = time.monotonic()
    (row,) = rows_of(bench(server.base, "--seconds", "0.5", "-p", "4", "-n", "2", "-o", "jsonl"))
    assert row["load"]["requests"] > 0
    assert time.monotonic() - started < 20


def test_the_warm_up_takes_no_longer_than_the_test() -> None:
    over = threading.Event()

    def silent(_: object) -> bytes:
        over.wait(60)
        return answered("Late")

    with odd_server(Script([silent, answered("Yes.")])) as address:
        started = time.monotonic()
        done = bench(address, "--seconds", "0.5", "-o", "jsonl", "-n", "2")
        seconds = time.monotonic() - started
        over.set()  # the server waits for its threads
    (row,) = rows_of(done)
    assert seconds < 30
    assert row["load"]["requests"] > 0


def test_it_is_stored_compared_and_drawn(server: LiveServer, tmp_path: Path, isolated_home: Path) -> None:
    chart = tmp_path / "chart.svg"
    arguments = ("bench", "--url", server.base, "--concurrency", "1,2", "--requests", "4", "-p", "4", "-n", "4")
    for number in (1, 2):
        done = invoke(*arguments, "--plot", str(chart))
        assert done.status == 0, done.stderr
        assert f"stored as run {number}" in done.stderr
    assert chart.read_text().startswith("<svg")
    listed = invoke("bench", "history", width=200)
    assert "load x2 pp4+t" in listed.stdout
    shown = invoke("bench", "show", "1", "--json")
    assert json.loads(shown.stdout)["rows"][0]["load"]["requests"] == 4
    compared = invoke("bench", "compare", "1", "2")
    assert compared.status == 0, compared.stderr
    assert "load x1 pp4+tg4" in compared.stdout


@pytest.mark.parametrize("width", [40, 200])
def test_a_terminal_shows_all_figures(server: LiveServer, width: int) -> None:
    done = bench(
        server.base, "--requests", "3", "-p", "4", "-n", "4", "--slo", "ttft=60s,itl=60s",
        terminals=Terminals(stdin=True, stdout=True, stderr=True), environ={"NO_COLOR": "1"}, width=width,
    )  # fmt: skip
    assert done.status == 0, done.stderr
    for name in ("requests", "tokens/s", "first token", "between tokens", "whole answer", "goodput", "100.0%"):
        assert name in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= width


def test_errors_are_counted_by_kind() -> None:
    replies = [answered("One", " two"), refused(500), chunked(chunk("Half"), ends=False), refused(429), answered("Yes.")]
    with odd_server(Script(replies)) as address:
        (row,) = rows_of(bench(address, "--requests", "6", "-o", "jsonl", "--no-warmup", "-n", "2"))
    assert row["load"]["errors"] == {"status 500": 1, "broken off": 1, "status 429": 1}
    assert row["repetitions"] == 3


@pytest.mark.parametrize(
    ("documents", "errors"),
    [
        ([{"usage": 5}, "[DONE]"], {}),
        ([{"usage": {"prompt_tokens": "x", "completion_tokens": -7, "prompt_tokens_details": [1]}}, "[DONE]"], {}),
        ([{"usage": {"prompt_tokens": 1e308, "completion_tokens": 10**30}}, "[DONE]"], {}),
        ([{"choices": 5}, [1, 2], {"choices": [None]}, {"choices": [{"delta": "x"}]}, "[DONE]"], {}),
        ([{"choices": [{"finish_reason": "stop"}]}], {}),
        ([], {"broken off": 1}),
        ([{"error": {"message": "no"}}, "[DONE]"], {"error in the stream": 1}),
        (["{"], {"invalid answer": 1}),
    ],
)
def test_odd_streams_are_counted(documents: list[Any], errors: dict[str, int]) -> None:
    events = [{"choices": [{"text": "One"}]}, *documents]
    texts = [one if isinstance(one, str) else json.dumps(one) for one in events]
    odd = response("".join(f"data: {text}\n\n" for text in texts), kind="text/event-stream")
    with odd_server(Script([odd, answered("Yes.")])) as address:
        (row,) = rows_of(bench(address, "--requests", "2", "-o", "jsonl", "--no-warmup", "-p", "4", "-n", "2"))
    assert row["load"]["errors"] == errors
    assert row["load"]["requests"] == 2
    assert 1 <= row["load"]["completion_tokens"] < 10


def test_a_server_that_answers_nothing_is_an_error() -> None:
    with odd_server(Script([refused(500, "no GPU")])) as address:
        done = bench(address, "--requests", "2", "-o", "jsonl")
    assert done.status == 1
    assert "status 500: no GPU" in done.stderr


@pytest.mark.parametrize("form", ["jsonl", "md", "table"])
def test_rows_go_to_both_streams(form: str) -> None:
    with odd_server(Script([answered("Yes.")])) as address:
        done = bench(address, "--requests", "2", "-o", "json", "-oe", form, "--no-warmup", "-n", "2", "--progress")
    assert done.status == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert f"llamacli: test 1/1, {row['test']}" in done.stderr.splitlines()
    assert done.stderr.count(row["test"]) == 2


def test_prompts_of_files_are_asked_in_turn(tmp_path: Path) -> None:
    shares = [{"conversations": [{"from": "human", "value": "A"}, {"from": "gpt", "value": "B"}]}]
    (tmp_path / "share.json").write_text(json.dumps(shares))
    (tmp_path / "rows.jsonl").write_text('{"prompt": "one"}\n"two"\n{"messages": [{"role": "user", "content": "three"}]}\n')
    texts = [[turn["content"] for turn in one] for one in read_prompts(tmp_path / "rows.jsonl")]
    assert texts == [["one"], ["two"], ["three"]]
    script = Script([answered("Yes.")])
    with odd_server(script) as address:
        for name in ("share.json", "rows.jsonl"):
            rows_of(bench(address, "--requests", "4", "--prompts", str(tmp_path / name), "-o", "jsonl", "--no-warmup"))
    asked = [one.document["messages"][0]["content"] for one in script.posts]
    assert asked == ["A"] * 4 + ["one", "two", "three", "one"]


@pytest.mark.parametrize("text", ["", "[", "[]", "[1]", '{"prompt": ""}', '{"conversations": [{"from": "x", "value": "y"}]}'])
def test_files_without_prompts_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(UsageError):
        read_prompts(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rate", "0"), ("--concurrency", "0"), ("--concurrency", "5000"), ("--slo", "fast"), ("--slo", "ttft=1s,ttft=2s"),
        ("--rate", "1", "--concurrency", "2"), ("-t", "4"), ("-d", "4"), ("--latency",), ("--parallel", "2"), ("-m", "a,b"),
        ("-r", "3"), ("--prompts", "x.json", "-p", "4"), ("--prompts", "missing.json"), ("--requests", "0"),
        ("--seconds", "-1"), ("-p", "2000000000"),
    ],
)  # fmt: skip
def test_what_a_load_test_cannot_do_is_refused(arguments: tuple[str, ...]) -> None:
    with odd_server(Script([answered("Yes.")])) as address:
        done = bench(address, *arguments)
    assert (done.status, done.stdout) == (2, ""), done.stderr


def test_the_setup_of_other_commands_has_no_effect() -> None:
    environ = {"LLAMACLI_THREADS": "2", "LLAMACLI_N_DEPTH": "8", "LLAMACLI_PARALLEL": "4"}
    with odd_server(Script([answered("Yes.")])) as address:
        (row,) = rows_of(bench(address, "--requests", "2", "-n", "2", "-o", "jsonl", "--no-warmup", environ=environ))
    assert (row["n_parallel"], row["n_depth"], row["load"]["errors"]) == (1, 0, {})


def test_options_of_load_tests_need_a_server() -> None:
    assert invoke("bench", "--concurrency", "4").status == 2


@pytest.mark.parametrize(
    ("objective", "ttft", "gaps", "met"),
    [
        ("ttft=500ms", 0.4, (9.0,), True), ("ttft=500ms", 0.6, (), False), ("itl=50ms", 9.0, (0.04, 0.05), True),
        ("itl=50ms,ttft=1s", 0.9, (0.06, 0.06), False), ("itl=50ms", 9.0, (), True),
    ],
)  # fmt: skip
def test_an_objective_is_met(objective: str, ttft: float, gaps: tuple[float, ...], met: bool) -> None:
    assert read_objective(objective).is_met(Sample(due=0.0, ended=1.0, ttft=ttft, gaps=gaps)) is met
    assert Objective().is_met(Sample(due=0.0, ended=1.0, ttft=99.0))


def test_a_test_has_an_end() -> None:
    with pytest.raises(UsageError):
        LoadTest()


def test_the_client_is_not_the_limit() -> None:
    events = 20_000
    body = chunked(b"".join([chunk("x") for _ in range(events)]), chunk(reason="stop"), b"data: [DONE]\n\n")

    def answer(asked: Asked) -> bytes:
        return body

    with odd_server(Script([answer])) as address:
        (client,) = clients_of([address], None, {}, insecure=False, patience=60)
        started = time.thread_time()
        sample = timed(client, Request(path="completions", body={}), time.perf_counter(), time.perf_counter())
        spent = time.thread_time() - started
        client.close()
    assert len(sample.gaps) == events - 1
    assert events / spent > 5000
