"""The engine's own choice of threads against every fixed number, beside busy programs and under a quota of processor time.

    python tests/performance/bench_threads.py MODEL [--busy 0,1,2,4] [--quota 1.0,0.5] [--rounds 3] [--seconds 1.5]

A ratio of 1 means that the choice is as fast as the best fixed number. The quota is simulated: a program stops this one for the
rest of each tenth of a second in which it has used its share, so that the engine does not know of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.model import Model

PROMPT = 256
SIZE = 2048
PERIOD = 0.1


def generate(context: Context, tokens: list[int], seconds: float) -> float:
    """Return the tokens per second of generation, one after the other."""
    context.clear()
    started, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds and count < SIZE:
        context.decode([tokens[count % PROMPT]], [count], [0], [1])
        context.logits(0)
        count += 1
    return count / spent


def read_prompts(context: Context, tokens: list[int], seconds: float) -> float:
    """Return the tokens per second of prompts."""
    started, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds:
        context.clear()
        context.decode(tokens, list(range(PROMPT)), [0] * PROMPT, [0] * (PROMPT - 1) + [1])
        context.logits(PROMPT - 1)
        count += PROMPT
    return count / spent


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """Run so many programs that each want a whole processor."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.3)
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


@contextmanager
def quota(share: float) -> Iterator[None]:
    """Let this process use the time of so many processors."""
    throttle = subprocess.Popen([sys.executable, __file__, "--throttle", str(os.getpid()), str(share)])
    try:
        time.sleep(0.3)
        yield
    finally:
        throttle.terminate()
        throttle.wait()


def throttle(pid: int, share: float) -> None:
    """Stop a process for the rest of each period in which it has used its share."""
    signal.signal(signal.SIGTERM, lambda *_: (os.kill(pid, signal.SIGCONT), sys.exit()))

    def used() -> float:
        total = 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        return total / 1e9

    while True:
        started, before = time.perf_counter(), used()
        while (left := started + PERIOD - time.perf_counter()) > 0:
            if used() - before >= share * PERIOD:
                os.kill(pid, signal.SIGSTOP)
                time.sleep(left)
                os.kill(pid, signal.SIGCONT)
                break
            time.sleep(min(left, 0.002))


def measure(contexts: dict[int, Context], tokens: list[int], rounds: int, seconds: float) -> Iterator[str]:
    """Yield a line for generation and one for prompts: medians of interleaved rounds. The number 0 is the engine's choice."""
    for name, run in (("generation", generate), ("prompts", read_prompts)):
        speeds: dict[int, list[float]] = {count: [] for count in contexts}
        for _ in range(rounds):
            for count, context in contexts.items():
                speeds[count].append(run(context, tokens, seconds))
        medians = {count: statistics.median(values) for count, values in speeds.items()}
        chosen = medians.pop(0)
        fixed = "   ".join(f"-t {count} {speed:8.1f}" for count, speed in medians.items())
        yield f"{name:10}   {fixed}   chosen {chosen:8.1f}   of the best {chosen / max(medians.values()):.2f}"


def main() -> None:
    """Print a table of tokens per second."""
    if sys.argv[1:2] == ["--throttle"]:
        throttle(int(sys.argv[2]), float(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--busy", default="0,1,2,4", help="comma-separated numbers of programs")
    parser.add_argument("--quota", default="1.0,0.5", help="comma-separated numbers of processors; empty for none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    options = parser.parse_args()
    with ExitStack() as stack:
        model = stack.enter_context(Model(options.model))
        tokens = (list(model.vocabulary.tokenize("The quick brown fox jumps over the lazy dog. ")) * PROMPT)[:PROMPT]
        contexts = {
            count: stack.enter_context(Context(model, ContextParams(n_ctx=SIZE, threads=count or None)))
            for count in range(default_threads() + 1)
        }
        for context in contexts.values():
            generate(context, tokens, 0.3)
        loads = [(f"{text} busy", busy_programs(int(text))) for text in options.busy.split(",") if text]
        loads += [(f"{text} CPUs", quota(float(text))) for text in options.quota.split(",") if text]
        for name, load in loads:
            with load:
                for line in measure(contexts, tokens, options.rounds, options.seconds):
                    print(f"{name:9} {line}", flush=True)


if __name__ == "__main__":
    main()
