"""The server under load, in turns with llama-server of the same tree: tokens per second, time to the first token, gaps.

    python tests/performance/bench_serve.py MODEL [--clients 1,4,8,16] [--parallel 8] [--tokens 64] [--pairs 3] [--peer PATH]
                                             [--threads N] [--embedding MODEL] [--parts load,overhead,prefix,vectors]

`--peer` is a llama-server; "none" measures ours alone, "build" builds one. The parts: clients that each ask twice; the overhead
of HTTP for short requests on one connection; 32 requests that share a prefix of about 1,500 tokens; and vectors of 100 texts
per request, compared with `llamacli embed`. `bench_endurance.py` measures many streams for a time.

The overhead is what a client waits for beside the engine: from the first byte of a request to the last of its response, less
`prompt_ms` and `predicted_ms` of its timings. It has the work of the server, of tokenization and of the sampler's set-up, the
ways between the processes, and the kernel's, but not what the client does before and afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import peers

WORDS = (
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state", "family",
    "student", "group", "country", "problem",
)  # fmt: skip


@dataclass
class Timing:
    """One streamed answer: when its tokens came, in seconds from its request."""

    tokens: list[float] = field(default_factory=list)

    @property
    def gaps(self) -> list[float]:
        """Seconds between tokens."""
        return [after - before for before, after in zip(self.tokens, self.tokens[1:], strict=False)]


def prompt(words: int, seed: int) -> str:
    """Return words in random order."""
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(words))


@contextlib.contextmanager
def serving(command: list[str], port: int) -> Iterator[None]:
    """Start a server, wait until its model is loaded, and end it after the block."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 120
            while time.monotonic() < end:
                with contextlib.suppress(OSError), contextlib.closing(connection(port)) as asked:
                    asked.request("GET", "/health")
                    if asked.getresponse().status == 200:
                        break
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


def connection(port: int) -> http.client.HTTPConnection:
    """Return a connection to a server on this machine."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=600)


def ask(port: int, text: str, tokens: int) -> Timing:
    """Stream one answer."""
    timing, started = Timing(), time.perf_counter()
    body = {"prompt": text, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
    with contextlib.closing(connection(port)) as asked:
        asked.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = asked.getresponse()
        assert response.status == 200, response.read()
        for line in response:
            if line.startswith(b"data: {") and json.loads(line[6:]).get("choices", [{}])[0].get("finish_reason") is None:
                timing.tokens.append(time.perf_counter() - started)
    return timing


def side_by_side(count: int, work: Callable[[int], list[Timing]]) -> tuple[list[Timing], float]:
    """Run `count` clients at once; return their timings and the seconds of all."""
    found: list[Timing] = []
    threads = [threading.Thread(target=lambda number=number: found.extend(work(number))) for number in range(count)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, time.perf_counter() - started


def load(port: int, clients: int, tokens: int, seed: int) -> dict[str, float]:
    """Measure clients that each ask twice, one question after the other."""
    timings, seconds = side_by_side(
        clients, lambda number: [ask(port, prompt(96, seed + 100 * turn + number), tokens) for turn in range(2)]
    )
    gaps = sorted(gap for timing in timings for gap in timing.gaps)
    return {
        "tokens/s": sum(len(timing.tokens) for timing in timings) / seconds,
        "ttft ms": 1e3 * statistics.median(timing.tokens[0] for timing in timings),
        "p99 gap ms": 1e3 * gaps[int(0.99 * (len(gaps) - 1))],
    }


def overhead(port: int, count: int = 200) -> float:
    """Return the median milliseconds of a short request beside the engine's own, which the server tells, on one connection."""
    body = json.dumps({"prompt": "Hello", "max_tokens": 1, "temperature": 0}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    request = b"%b%d\r\n\r\n%b" % (head.encode(), len(body), body)
    beside: list[float] = []
    asked = _connected(port)
    while len(beside) < count:
        started = time.perf_counter()
        asked.sendall(request)
        response = _received(asked)
        seconds = time.perf_counter() - started
        if not response:  # llama-server closes a connection after 100 requests
            asked.close()
            asked = _connected(port)
            continue
        timings = json.loads(response)["timings"]
        beside.append(1e3 * seconds - timings["prompt_ms"] - timings["predicted_ms"])
    asked.close()
    return statistics.median(beside)


def _connected(port: int) -> socket.socket:
    connected = socket.create_connection(("127.0.0.1", port))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _received(asked: socket.socket) -> bytes:
    """The body of the next response; empty if the connection is closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = asked.recv(1 << 16)
        if not received:
            return b""
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"\ncontent-length: *(\d+)", head.lower())
    assert found is not None, data
    assert head.startswith(b"HTTP/1.1 200"), data
    while len(body) < int(found[1]):
        body += asked.recv(1 << 16)
    return body


def prefix(port: int, *, shared: bool, seed: int) -> float:
    """Return requests per second of 32 questions about one document of about 1,500 tokens, or about one each."""
    texts = [prompt(1400, seed if shared else seed + 1 + number) + f" {number}" for number in range(32)]
    _, seconds = side_by_side(32, lambda number: [ask(port, texts[number], 4)])
    return len(texts) / seconds


def vectors(port: int, model: str) -> float:
    """Return texts per second of requests with 100 texts each, without the first and the last, when not all cores are busy.

    As those of `llamacli embed`, they follow from the difference between many texts and few.
    """
    few, many = (_vector_seconds(port, model, requests) for requests in (2, 22))
    return 2000 / (many - few)


def _vector_seconds(port: int, model: str, requests: int) -> float:
    """The seconds of requests with 100 texts each, from two clients, each of which sends one after the other."""
    bodies = []
    for number in range(requests + 1):
        texts = [prompt(24, 100 * number + text) for text in range(100)]
        bodies.append(json.dumps({"model": model, "input": texts, "encoding_format": "base64"}))

    def client(number: int) -> list[Timing]:
        with contextlib.closing(connection(port)) as asked:
            for body in bodies[1 + number :: 2]:
                _vectors_of(asked, body)
        return []

    with contextlib.closing(connection(port)) as asked:
        _vectors_of(asked, bodies[0])  # which loads the model
    return side_by_side(2, client)[1]


def _vectors_of(asked: http.client.HTTPConnection, body: str) -> None:
    asked.request("POST", "/v1/embeddings", body)
    response = asked.getresponse()
    assert response.status == 200, response.read()
    response.read()


def vectors_of_command(model: str, threads: int) -> float:
    """Return texts per second of `llamacli embed`, without its start: from the difference between many texts and few."""
    seconds = []
    for count in (100, 1100):
        lines = "".join(prompt(24, number) + "\n" for number in range(count))
        command = [*peers.LLAMACLI, "embed", "-m", model, "-t", str(threads)]
        started = time.perf_counter()
        subprocess.run(command, input=lines, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - started)
    return 1000 / (seconds[1] - seconds[0])


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--clients", default="1,4,8,16")
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--peer", default="none")
    parser.add_argument("--parts", default="load,overhead,prefix,vectors")
    parser.add_argument("--embedding", help="embedding model, for the comparison with `llamacli embed`")
    options = parser.parse_args()
    ours, theirs = peers.free_port(), peers.free_port()
    common = ["-m", options.model, "-t", str(options.threads)]
    commands = {
        "llamacli": [
            *peers.LLAMACLI, "serve", *common, "--port", str(ours), "--parallel", str(options.parallel), "-c", "2048",
            *(["-m", options.embedding] if options.embedding else []),
        ]
    }  # fmt: skip
    if options.peer != "none":
        program = peers.program("llama-server") if options.peer == "build" else options.peer
        commands["llama-server"] = [
            str(program), *common, "--port", str(theirs), "-np", str(options.parallel), "-c", str(2048 * options.parallel),
        ]  # fmt: skip
    ports = {"llamacli": ours, "llama-server": theirs}
    with contextlib.ExitStack() as stack:
        for name, command in commands.items():
            stack.enter_context(serving(command, ports[name]))
        for clients in map(int, options.clients.split(",")) if "load" in options.parts else ():
            rows: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
            for pair in range(options.pairs):
                for name in commands:
                    rows[name].append(load(ports[name], clients, options.tokens, 1000 * pair + clients))
            for name, measured in rows.items():
                medians = {key: statistics.median(row[key] for row in measured) for key in measured[0]}
                print(f"{clients:3} clients  {name:12}", "  ".join(f"{key} {value:8.1f}" for key, value in medians.items()))
        for name in commands if "overhead" in options.parts else ():
            print(f"{name:12} overhead of a short request: {overhead(ports[name]):.2f} ms")
        for name in commands if "prefix" in options.parts else ():
            apart, shared = (prefix(ports[name], shared=one, seed=7) for one in (False, True))
            print(f"{name:12} 32 questions about a document: {apart:.2f}/s apart, {shared:.2f}/s shared, {shared / apart:.1f}x")
        if options.embedding and "vectors" in options.parts:
            served, alone = (
                vectors(ours, Path(options.embedding).stem),
                vectors_of_command(options.embedding, options.threads),
            )
            print(f"100 texts per request: {served:.1f} vectors/s, llamacli embed {alone:.1f}, {served / alone:.2f}x")


if __name__ == "__main__":
    main()
