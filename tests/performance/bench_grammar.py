"""Processor time of the grammar workbench, against its limits.

    python tests/performance/bench_grammar.py [--rounds 5]

Prints medians of processor time, and fails if one exceeds 2 s: 1 MB of JSON with the built-in JSON grammar, the parser on
hostile grammars, the linter on the built-in ones. The machine should be idle.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from hostile_grammars import HOSTILE, json_text
from native_grammar import NativeGrammar

from llamacli.grammar.analysis.linter import lint
from llamacli.grammar.analysis.sampler import Sampler
from llamacli.grammar.builtins import builtin, builtin_names
from llamacli.grammar.gbnf import examine, parse
from llamacli.grammar.matcher import Matcher

LIMIT = 2.0


def median(work: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of processor time of `work` over some rounds."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def main() -> int:
    """Measure and print; return 1 if the limit was exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    grammar = builtin("json").text
    text = json_text(1_000_000)
    matcher = Matcher(parse(grammar))
    matcher.matches(text)
    rows = [
        ("1 MB of JSON, a fresh matcher", median(lambda: Matcher(parse(grammar)).matches(text), rounds)),
        ("1 MB of JSON, a warm matcher", median(lambda: matcher.matches(text), rounds)),
        ("100 samples of JSON", median(lambda: list(Sampler(parse(grammar), 1).samples(100)), rounds)),
        *((f"lint {name}", median(lambda name=name: lint(builtin(name).text), 1)) for name in builtin_names()),
        *((f"parse {name}", median(lambda name=name: examine(HOSTILE[name]), 1)) for name in HOSTILE),
    ]
    for what, seconds in rows:
        print(f"{seconds:8.3f} s  {what}{'  TOO LONG' if seconds > LIMIT else ''}")
    with NativeGrammar(grammar) as native:
        seconds = median(lambda: (native.reset(), native.accept(text[:100_000].encode())), 1)
    print(f"{seconds:8.3f} s  the first 100,000 characters with llama.cpp's matcher, for comparison")
    return int(any(seconds > LIMIT for _, seconds in rows))


if __name__ == "__main__":
    sys.exit(main())
