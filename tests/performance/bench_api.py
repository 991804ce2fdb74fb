"""The Python API against llama-cpp-python on the same file, interleaved, in fresh processes of separate environments.

python tests/performance/bench_api.py MODEL --other PYTHON_WITH_LLAMA_CPP_PYTHON [--pairs 5] [--threads N]

One call of `Llama.__call__` of each length, then threads that share one object (llama-cpp-python's with a lock around each
call, as it needs), then the time of the import alone.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
from pathlib import Path

import peers

CHILD = r"""
import contextlib, json, sys, threading, time
module, path, predict, threads, callers = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
if module == "llamacli":
    from llamacli import Llama
    llm, lock = Llama(path, n_ctx=2048, n_threads=threads, n_parallel=callers), contextlib.nullcontext()
else:
    from llama_cpp import Llama
    llm, lock = Llama(path, n_ctx=2048, n_threads=threads, verbose=False), threading.Lock()
options = {"max_tokens": predict, "temperature": 0.8, "top_k": 40, "seed": 1}
options["logit_bias"] = {llm.token_eos(): -100.0, 0: -100.0}
llm("Once upon a time", **{**options, "max_tokens": 4})
tokens = []

def call(number):
    with lock:
        answer = llm(f"The quick brown fox number {number}", **options)
    tokens.append(answer["usage"]["completion_tokens"])

workers = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
started = time.perf_counter()
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(json.dumps({"tokens": sum(tokens), "seconds": time.perf_counter() - started}))
"""


def rate(python: str, module: str, model: str, predict: int, threads: int, callers: int) -> float:
    """Return the tokens per second of one call, or of several from as many threads."""
    command = [python, "-P", "-c", CHILD, module, model, str(predict), str(threads), str(callers)]
    found = json.loads(peers.run(command).output)
    return float(found["tokens"]) / float(found["seconds"])


def import_seconds(line: str, rounds: int) -> float:
    """Return the median time of an import, beyond the start of Python."""
    alone, whole = (
        statistics.median(peers.run([sys.executable, "-P", "-c", code]).seconds for _ in range(rounds)) for code in ("", line)
    )
    return whole - alone


def main() -> None:
    """Print one line for each length, one for the threads, and one for each import."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: str(Path(text).resolve()))
    parser.add_argument("--other", required=True, help="the Python that has llama-cpp-python")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--lengths", type=int, nargs="*", default=[64, 256, 1024], help="tokens of an answer")
    parser.add_argument("--callers", type=int, default=8, help="threads that share one object")
    options = parser.parse_args()
    jobs = [(predict, 1) for predict in options.lengths]
    if options.callers:
        jobs.append((64, options.callers))
    for predict, callers in jobs:
        ours, theirs = (
            functools.partial(rate, python, module, options.model, predict, options.threads, callers)
            for python, module in ((sys.executable, "llamacli"), (options.other, "llama_cpp"))
        )
        measured = peers.interleaved(ours, theirs, options.pairs)
        print(f"{predict:5} tokens, {callers} threads, tokens/s  {measured}", flush=True)
    for line in ("import llamacli", "from llamacli import Llama", "from llamacli import llama_cpp"):
        print(f"{line:32} {import_seconds(line, options.pairs):.3f} s", flush=True)


if __name__ == "__main__":
    main()
