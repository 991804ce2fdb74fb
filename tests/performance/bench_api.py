"""`Llama.__call__` against that of llama-cpp-python on the same file, interleaved, in fresh processes of separate environments.

python tests/performance/bench_api.py MODEL --other PYTHON_WITH_LLAMA_CPP_PYTHON [--pairs 5] [--threads N]
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from pathlib import Path

import peers

CHILD = r"""
import json, sys, time
module, path, predict, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if module == "llamacli":
    from llamacli import Llama
    llm = Llama(path, n_ctx=2048, n_threads=threads, n_parallel=1)
else:
    from llama_cpp import Llama
    llm = Llama(path, n_ctx=2048, n_threads=threads, verbose=False)
options = {"max_tokens": predict, "temperature": 0.8, "top_k": 40, "seed": 1}
options["logit_bias"] = {llm.token_eos(): -100.0, 0: -100.0}
llm("Once upon a time", **{**options, "max_tokens": 4})
started = time.perf_counter()
answer = llm("The quick brown fox", **options)
seconds = time.perf_counter() - started
print(json.dumps({"tokens": answer["usage"]["completion_tokens"], "seconds": seconds}))
"""


def rate(python: str, module: str, model: str, predict: int, threads: int) -> float:
    """Return the tokens per second of one call."""
    command = [python, "-P", "-c", CHILD, module, model, str(predict), str(threads)]
    found = json.loads(peers.run(command).output)
    return float(found["tokens"]) / float(found["seconds"])


def main() -> None:
    """Print one line for each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: str(Path(text).resolve()))
    parser.add_argument("--other", required=True, help="the Python that has llama-cpp-python")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    for predict in (64, 256, 1024):
        ours = functools.partial(rate, sys.executable, "llamacli", options.model, predict, options.threads)
        theirs = functools.partial(rate, options.other, "llama_cpp", options.model, predict, options.threads)
        print(f"{predict:5} tokens, tokens/s  {peers.interleaved(ours, theirs, options.pairs)}", flush=True)


if __name__ == "__main__":
    main()
