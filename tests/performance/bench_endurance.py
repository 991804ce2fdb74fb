"""The server under many streams for a time, and with many idle connections: errors, memory, and how long its loop is blocked.

    python tests/performance/bench_endurance.py MODEL [--streams 500] [--seconds 60] [--idle 10000]
                                                      [--most-growth MIB] [--most-lag MS]

The status is 1 if a stream failed, if memory grew by more than `--most-growth` between the first and the last quarter of the
time, or if the event loop of the server was blocked for longer than `--most-lag`, as its `/metrics` say. A tiny model
(`tests/support/tiny.py`) makes the server work hardest. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import peers

TOKENS = 32
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass
class Outcome:
    """What happened: streams that ended well, and what went wrong."""

    streams: int = 0
    errors: list[str] = field(default_factory=list)


def request(number: int) -> bytes:
    """Return the request of a stream."""
    body = json.dumps({"prompt": f"Hello {number}", "max_tokens": TOKENS, "ignore_eos": True, "stream": True}).encode()
    return b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


async def exchange(port: int, data: bytes) -> bytes:
    """Send a request on a connection of its own, and return the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await reader.read()
    finally:
        writer.close()


async def keep_streaming(port: int, number: int, end: float, outcome: Outcome) -> None:
    """Ask for one stream after the other."""
    clock = asyncio.get_running_loop().time
    while clock() < end:
        try:
            response = await exchange(port, request(number))
        except OSError as error:
            outcome.errors.append(repr(error))
            continue
        if response.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in response and b'"error"' not in response:
            outcome.streams += 1
        else:
            outcome.errors.append(response[-300:].decode("utf-8", "replace"))


async def endure(port: int, pids: list[int], streams: int, seconds: float) -> tuple[Outcome, float]:
    """Keep streams open for a time. Return what happened, and how many MiB more the processes had in its last quarter."""
    loop = asyncio.get_running_loop()
    outcome, sizes = Outcome(), []
    end = loop.time() + seconds
    tasks = [loop.create_task(keep_streaming(port, number, end, outcome)) for number in range(streams)]
    while loop.time() < end:
        await asyncio.sleep(min(0.5, seconds / 8))
        sizes.append(sum(map(resident, pids)))
    await asyncio.gather(*tasks)
    quarter = max(1, len(sizes) // 4)
    growth = statistics.median(sizes[-quarter:]) - statistics.median(sizes[quarter : 2 * quarter] or sizes[:1])
    return outcome, growth / 2**20


async def hold_idle(port: int, count: int) -> tuple[int, float]:
    """Hold idle connections while requests are answered. Return how many were open, and the seconds of the slowest request."""
    loop = asyncio.get_running_loop()
    held: list[asyncio.StreamWriter] = []
    slowest = 0.0
    try:
        for number in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            held.append(writer)
            if number % max(1, count // 10) == 0:
                started = loop.time()
                assert (await exchange(port, HEALTH)).startswith(b"HTTP/1.1 200")
                slowest = max(slowest, loop.time() - started)
        assert b"data: [DONE]" in await exchange(port, request(0))
    finally:
        for writer in held:
            writer.close()
    return len(held), slowest


async def longest_lag(port: int) -> float:
    """Return for how many milliseconds the loop of the server has been blocked at most, from its metrics."""
    text = (await exchange(port, HEALTH.replace(b"/health", b"/metrics"))).decode()
    found = re.search(r"^llamacli_event_loop_longest_lag_seconds (\S+)", text, re.MULTILINE)
    assert found is not None, text[-500:]
    return 1e3 * float(found[1])


def resident(pid: int) -> int:
    """Return the resident bytes of a process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    return 1024 * int(found[1]) if found else 0


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())]


async def until_ready(work: Callable[[], Awaitable[bytes]]) -> None:
    """Ask until the answer is 200."""
    async with asyncio.timeout(120):
        while True:
            try:
                if (await work()).startswith(b"HTTP/1.1 200"):
                    return
            except OSError:
                pass
            await asyncio.sleep(0.05)


async def measure(options: argparse.Namespace, port: int, pid: int) -> bool:
    """Measure, print, and return whether all was well."""
    await until_ready(lambda: exchange(port, HEALTH))
    outcome, growth = await endure(port, family(pid), options.streams, options.seconds)
    lag = await longest_lag(port)
    print(f"{options.streams} streams for {options.seconds:g} s: {outcome.streams} answers, {len(outcome.errors)} errors")
    print(f"memory: {growth:+.1f} MiB, event loop blocked for at most {lag:.1f} ms")
    for error in outcome.errors[:3]:
        print(error, file=sys.stderr)
    held, slowest = await hold_idle(port, options.idle)
    print(f"{held} idle connections: slowest /health {1e3 * slowest:.1f} ms")
    await until_ready(lambda: exchange(port, HEALTH))
    return not outcome.errors and growth <= options.most_growth and lag <= options.most_lag


def main() -> int:
    """Start the server, measure, and return the status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--idle", type=int, default=10000)
    parser.add_argument("--most-growth", type=float, default=32, metavar="MIB")
    parser.add_argument("--most-lag", type=float, default=50, metavar="MS")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = peers.free_port()
    command = [*peers.LLAMACLI, "serve", "-m", options.model, "--port", str(port), "--queue", str(2 * options.streams)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        try:
            return 0 if asyncio.run(measure(options, port, server.pid)) else 1
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
