"""The cost of a JSON schema: against generation without one, and against llama.cpp's own llama-completion -j.

    python tests/performance/bench_constrained.py MODEL [--pairs 5] [--threads N]

All schemas of tests/data/schemas are used. A rate is that of the tokens between the first and the last; for llama-completion it
is computed from the wall time of a whole answer less that of one token. Ratios above 1 mean that ours with the schema is
faster.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import re
import subprocess
import time
from pathlib import Path

import peers

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.constraint.schema import schema_to_grammar
from llamacli.engine.engine import Engine
from llamacli.engine.events import Piece
from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams

SCHEMAS = sorted((Path(__file__).parents[1] / "data" / "schemas").glob("*.json"))
QUESTION = "Invent an example, and write it as JSON."
LIMIT = 200


def constrained(engine: Engine, schema: str, sampling: SamplingParams) -> tuple[float, int]:
    """Return the tokens per second with a schema, and the number of tokens."""
    grammar = schema_to_grammar(json.loads(schema))
    turn = engine.chat_turn([Message("user", QUESTION)], constraint=Constraint(grammar=grammar))
    return rate(engine, turn, GenerationParams(max_tokens=LIMIT, sampling=sampling))


def unconstrained(engine: Engine, count: int, sampling: SamplingParams) -> float:
    """Return the tokens per second without a schema, for `count` tokens."""
    turn = engine.chat_turn([Message("user", QUESTION)])
    return rate(engine, turn, GenerationParams(max_tokens=count, sampling=sampling))[0]


def rate(engine: Engine, turn: Turn, params: GenerationParams) -> tuple[float, int]:
    """Return the tokens per second of one answer, and the number of its tokens."""
    unparsed = dataclasses.replace(turn, answer_format=None)
    times = [time.perf_counter() for event in engine.answer(unparsed, params) if isinstance(event, Piece) and event.token]
    return (len(times) - 1) / (times[-1] - times[0]), len(times)


def completion(model: str, schema: Path, limit: int, threads: int) -> tuple[float, int]:
    """Return the wall seconds of llama-completion, and the number of tokens that it evaluated one by one."""
    command = [
        peers.program("llama-completion"), "-m", model, "-p", QUESTION, "-j", schema.read_text(), "-n", str(limit), "-t",
        str(threads), "--temp", "0", "-no-cnv", "--no-warmup", "-c", "1024", "--perf",
    ]  # fmt: skip
    started = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    runs = re.search(r"\beval time = .*?/ +(\d+) runs", done.stderr.replace("prompt eval time", ""))
    return seconds, int(runs[1]) if runs else 0


def theirs(model: str, schema: Path, threads: int) -> float:
    """Return the tokens per second of llama-completion."""
    short, _ = completion(model, schema, 1, threads)
    long, count = completion(model, schema, LIMIT, threads)
    return count / (long - short)


def main() -> None:
    """Print three lines for each schema."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: Path(text).resolve())
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    greedy, sampled = SamplingParams(temperature=0), SamplingParams(seed=1)
    free = {"greedy": SamplingParams(temperature=0, ignore_eos=True), "sampled": SamplingParams(seed=1, ignore_eos=True)}
    with Engine(options.model, context=ContextParams(n_ctx=1024, threads=options.threads)) as engine:
        for schema in SCHEMAS:
            for name, sampling in (("greedy", greedy), ("sampled", sampled)):
                limited = functools.partial(constrained, engine, schema.read_text(), sampling)
                plain = functools.partial(unconstrained, engine, limited()[1], free[name])
                result = peers.interleaved(lambda limited=limited: limited()[0], plain, options.pairs)
                print(f"{schema.stem:8}{name:8} against no schema         {result}", flush=True)
            limited = functools.partial(constrained, engine, schema.read_text(), greedy)
            peer = functools.partial(theirs, str(options.model), schema, options.threads)
            result = peers.interleaved(lambda limited=limited: limited()[0], peer, options.pairs)
            print(f"{schema.stem:8}greedy   against llama-completion  {result}", flush=True)


if __name__ == "__main__":
    main()
