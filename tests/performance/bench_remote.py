"""A server behind an address against the engine of this program, measured in turns; and what a pool costs.

    python tests/performance/bench_remote.py MODEL [--pairs 7] [--threads N] [--tokens 96] [--only answer,pool]

`answer`: one answer through our own `serve` on loopback, and from an engine as `run` opens it: the milliseconds more to the
first token, once connected, and the ratio of the tokens a second. `pool`: the same rows over one address with 4 requests at
once, and over two addresses of the same server with 2 each: the ratio of the times.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peers

from llamacli.backend.local import open_backend
from llamacli.backend.protocol import Backend
from llamacli.backend.remote.access import clients_of
from llamacli.backend.remote.engine import RemoteEngine
from llamacli.engine.chat.question import Question
from llamacli.engine.events import Piece
from llamacli.engine.generation.job import Job
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams


@contextmanager
def serving(model: str, threads: int) -> Iterator[str]:
    """The address of a server of the model."""
    arguments = ("serve", "-m", model, "--port", "0", "-t", str(threads), "--parallel", "4", "-c", "1024")
    with subprocess.Popen([*peers.LLAMACLI, *arguments], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if match := re.search(r"http://\S+:\d+", line):
                break
        else:
            raise SystemExit("the server did not start")
        try:
            yield match[0]
        finally:
            server.terminate()
            server.stderr.read()


def connect(*addresses: str) -> RemoteEngine:
    """An engine behind addresses."""
    return RemoteEngine(clients_of(addresses, None, {}, insecure=False, patience=60), None, lambda parameter: None)


def params(tokens: int) -> GenerationParams:
    """Greedy answers of a length."""
    return GenerationParams(max_tokens=tokens, sampling=SamplingParams(temperature=0.0, ignore_eos=True))


def answer(engine: Backend, number: int, tokens: int) -> tuple[float, float]:
    """Seconds to the first piece of an answer, and tokens a second from there on. Every prompt is new."""
    question = Question(text=f"{number} {time.perf_counter_ns()}: tell me a story about a lighthouse and its keeper.")
    started = time.perf_counter()
    first = 0.0
    for event in engine.answer(engine.render(question), params(tokens)):
        if isinstance(event, Piece) and not first:
            first = time.perf_counter()
    return first - started, (tokens - 1) / (time.perf_counter() - first)


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


def main() -> None:
    """Measure, and print a line for each job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--only", default="answer,pool")
    given = parser.parse_args()
    jobs = given.only.split(",")
    with serving(given.model, given.threads) as address, connect(address) as there:
        if "answer" in jobs:
            context = ContextParams(n_ctx=1024, n_seq_max=4, threads=given.threads, invariant=True)
            with open_backend(Path(given.model), ModelParams(), context) as here:
                for engine in (here, there):
                    answer(engine, 0, given.tokens)
                pairs = [(answer(here, n, given.tokens), answer(there, n, given.tokens)) for n in range(1, given.pairs + 1)]
            more = statistics.median((remote[0] - own[0]) * 1e3 for own, remote in pairs)
            ratio = statistics.median(remote[1] / own[1] for own, remote in pairs)
            print(f"answer: {more:+.2f} ms to the first token, {ratio:.3f} of the tokens/s", flush=True)
        if "pool" in jobs:
            with connect(address, address.replace("127.0.0.1", "localhost")) as two:
                rows(there, 8, 8, 4)
                turns = [(rows(there, 24, 16, 4), rows(two, 24, 16, 4)) for _ in range(given.pairs)]
            ratios = [both / one for one, both in turns]
            print(f"pool: {statistics.median(ratios):.3f} of the time of one address", flush=True)


if __name__ == "__main__":
    main()
