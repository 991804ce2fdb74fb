"""A server behind an address against the engine of this program, measured in turns; and what a pool and a node cost.

    python tests/performance/bench_remote.py MODEL [--pairs 8] [--rounds 3] [--threads N] [--tokens 256] [--only first,answer,…]

Client and server are on this machine, and share its processors with the threads that compute.

`first`: the milliseconds more to the first token through our own `serve` on loopback, once connected, than from an engine as
`run` opens it. `answer`: the ratio of the tokens a second of whole answers, and the processor time that client and server take
for a token beside the engine, where the system tells it. Both open server and engine anew for each round: where the weights
come to lie in memory changes the speed by more than is measured. `pool`: the same rows over one address with 4 requests at
once, and over two addresses of the same server with 2 each: the ratio of the times. `rpc`: the tokens a second with all layers
on an RPC node on loopback, against those here.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import peers

from llamacli.backend.child.engine import ChildEngine
from llamacli.backend.local import open_backend
from llamacli.backend.protocol import Backend
from llamacli.backend.remote.access import clients_of
from llamacli.backend.remote.engine import RemoteEngine
from llamacli.engine.chat.question import Question
from llamacli.engine.events import Piece
from llamacli.engine.generation.job import Job
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams

FIRST = 8
"""Pairs of short answers for each pair of long ones: they take a fraction of the time, and vary more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is measured: the model, and how often."""

    model: str
    threads: int
    tokens: int
    pairs: int
    rounds: int

    def open(self, model: ModelParams | None = None) -> ChildEngine:
        """Return an engine as the server has one."""
        context = ContextParams(n_ctx=1024, n_seq_max=4, threads=self.threads, invariant=True)
        return open_backend(Path(self.model), model or ModelParams(), context)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A server that was started."""

    address: str
    pid: int


@contextmanager
def started(*arguments: str, pattern: str) -> Iterator[Process]:
    """Start a server of ours, whose address is what its first message with the pattern has."""
    with subprocess.Popen([*peers.LLAMACLI, "serve", *arguments], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if match := re.search(pattern, line):
                break
        else:
            raise SystemExit("the server did not start")
        try:
            yield Process(address=match[0], pid=server.pid)
        finally:
            server.terminate()
            server.stderr.read()


@contextmanager
def serving(setup: Setup) -> Iterator[Process]:
    """Start a server of the model."""
    threads = str(setup.threads)
    with started(
        "-m", setup.model, "--port", "0", "-t", threads, "--parallel", "4", "-c", "1024", pattern=r"http://\S+:\d+"
    ) as server:
        yield server


def processor_ms(pid: int) -> float | None:
    """Return the milliseconds of processor time of a process, None where the system does not tell them so finely."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e6
    except (OSError, IndexError):
        return None


def connect(*addresses: str) -> RemoteEngine:
    """An engine behind addresses."""
    return RemoteEngine(clients_of(addresses, None, {}, insecure=False, patience=60), None, lambda parameter: None)


def params(tokens: int) -> GenerationParams:
    """Answers of a length. They are sampled: greedy ones repeat themselves, and how many drafts that gives varies."""
    return GenerationParams(max_tokens=tokens, sampling=SamplingParams(temperature=1.0, seed=1, ignore_eos=True))


def answer(engine: Backend, number: int, tokens: int) -> tuple[float, float]:
    """Seconds to the first piece of an answer, and to its end."""
    question = Question(text=f"{number}: tell me a story about a lighthouse and its keeper.")
    started = time.perf_counter()
    first = 0.0
    for event in engine.answer(engine.render(question), params(tokens)):
        if isinstance(event, Piece) and not first:
            first = time.perf_counter()
    return first - started, time.perf_counter() - started


def rows(engine: Backend, count: int, tokens: int, parallel: int) -> float:
    """Seconds for rows."""
    started = time.perf_counter()
    jobs = [
        Job(number=number, turn=engine.render(Question(text=f"Row {number} of {started}.")), params=params(tokens))
        for number in range(count)
    ]
    for _ in engine.answer_many(iter(jobs), parallel=parallel):
        pass
    return time.perf_counter() - started


Pair = tuple[tuple[float, float], tuple[float, float]]
"""Times of an answer from the engine, and of one from the server."""


def in_turns(here: Backend, there: Backend, pairs: int, tokens: int) -> list[Pair]:
    """Measure answers of both to one new prompt after the other, in alternating order; the first pair does not count."""
    found: list[Pair] = []
    first = time.perf_counter_ns()
    for number in range(-1, pairs):
        both = [here, there] if number % 2 else [there, here]
        times = {id(engine): answer(engine, first + number, tokens) for engine in both}
        found += [(times[id(here)], times[id(there)])] * (number >= 0)
    return found


def measure_answers(setup: Setup, jobs: Sequence[str]) -> None:
    """Print what an answer costs behind an address."""
    first: list[Pair] = []
    whole: list[Pair] = []
    used: list[tuple[float, float]] = []
    for _ in range(setup.rounds):
        with serving(setup) as server, connect(server.address) as there, setup.open() as here:
            if "first" in jobs:
                first += in_turns(here, there, FIRST * setup.pairs, 2)
            if "answer" in jobs:
                whole += in_turns(here, there, setup.pairs, setup.tokens)
                ours = beside(lambda: answer(here, 0, setup.tokens))
                theirs = beside(lambda: answer(there, 0, setup.tokens), server.pid)
                if ours is not None and theirs is not None:
                    used.append((ours, theirs))
    if first:
        own, remote = (statistics.median(pair[side][0] * 1e3 for pair in first) for side in (0, 1))
        more = statistics.median((remote[0] - own[0]) * 1e3 for own, remote in first)
        print(f"first: {more:+.2f} ms to the first token ({own:.1f} ms, {remote:.1f} ms)", flush=True)
    if whole:
        own, remote = (statistics.median(setup.tokens / pair[side][1] for pair in whole) for side in (0, 1))
        ratio = statistics.median(own[1] / remote[1] for own, remote in whole)
        print(f"answer: {ratio:.3f} of the tokens/s ({own:.1f}, {remote:.1f})", flush=True)
    if used:
        ours, theirs = (statistics.median(pair[side] for pair in used) * 1e3 / setup.tokens for side in (0, 1))
        print(f"answer: {ours:.0f} us of a processor for each token beside the engine, {theirs:.0f} us there", flush=True)


def beside(work: Callable[[], object], *pids: int) -> float | None:
    """Return the milliseconds of processor time that this process and others take while something is done."""
    every = (os.getpid(), *pids)
    before = [processor_ms(pid) for pid in every]
    work()
    after = [processor_ms(pid) for pid in every]
    spent = [later - earlier for earlier, later in zip(before, after, strict=True) if earlier is not None and later is not None]
    return sum(spent) if len(spent) == len(every) else None


def measure_pool(setup: Setup) -> None:
    """Print what two addresses cost against one."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(setup))
        one = stack.enter_context(connect(server.address))
        two = stack.enter_context(connect(server.address, server.address.replace("127.0.0.1", "localhost")))
        compared = peers.interleaved(lambda: rows(two, 24, 16, 4), lambda: rows(one, 24, 16, 4), setup.pairs)
    print(f"pool: {compared.ratio:.3f} of the time of one address", flush=True)


def measure_rpc(setup: Setup) -> None:
    """Print the speed with a node on loopback."""
    port = str(peers.free_port())
    with ExitStack() as stack:
        node = stack.enter_context(
            started("--rpc-node", "--port", port, "-t", str(setup.threads), pattern=rf"127\.0\.0\.1:{port}")
        )
        here = stack.enter_context(setup.open())
        there = stack.enter_context(setup.open(ModelParams(rpc=(node.address,))))
        pairs = in_turns(here, there, setup.pairs, setup.tokens // 4)
    ratio = statistics.median(own[1] / remote[1] for own, remote in pairs)
    more = statistics.median((remote[0] - own[0]) * 1e3 for own, remote in pairs)
    print(f"rpc: {ratio:.3f} of the tokens/s here, {more:+.1f} ms to the first token", flush=True)


def main() -> None:
    """Measure, and print a line for each job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--only", default="first,answer,pool,rpc")
    given = parser.parse_args()
    jobs = given.only.split(",")
    setup = Setup(model=given.model, threads=given.threads, tokens=given.tokens, pairs=given.pairs, rounds=given.rounds)
    if "first" in jobs or "answer" in jobs:
        measure_answers(setup, jobs)
    if "pool" in jobs:
        measure_pool(setup)
    if "rpc" in jobs:
        measure_rpc(setup)


if __name__ == "__main__":
    main()
