"""How long the grammar workbench takes, against its limits and beside llama.cpp's own matcher.

    python tests/performance/bench_grammar.py [--rounds 5]

Prints medians of processor time, and fails where a limit of 2 s is passed: 1 MB of JSON against the built-in JSON grammar, the
parser on hostile grammars, the linter on the built-in ones. Run it on an idle machine: times from a busy one tell little.
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

from llamacli.binding import bridge
from llamacli.grammar import examine, parse
from llamacli.grammar.analysis.linter import lint
from llamacli.grammar.analysis.sampler import Sampler
from llamacli.grammar.builtins import builtin, builtin_names
from llamacli.grammar.matcher import Matcher

LIMIT = 2.0


def median(work: Callable[[], object], rounds: int) -> float:
    """Seconds of processor time that `work` takes, in the middle of some rounds."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def main() -> int:
    """Measures and prints; 1 where a limit was passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    grammar = builtin("json").text
    text = json_text(1_000_000)
    matcher = Matcher(parse(grammar))
    matcher.matches(text)
    rows = [
        ("1 MB of JSON, a fresh matcher", median(lambda: Matcher(parse(grammar)).matches(text), rounds)),
        ("1 MB of JSON, a matcher that knows the grammar", median(lambda: matcher.matches(text), rounds)),
        ("100 samples of JSON", median(lambda: list(Sampler(parse(grammar), 1).samples(100)), rounds)),
        *((f"lint {name}", median(lambda name=name: lint(builtin(name).text), 1)) for name in builtin_names()),
        *((f"parse {name}", median(lambda name=name: examine(HOSTILE[name]), 1)) for name in HOSTILE),
    ]
    for what, seconds in rows:
        print(f"{seconds:8.3f} s  {what}{'  TOO LONG' if seconds > LIMIT else ''}")
    with bridge.Grammar(grammar) as native:
        seconds = median(lambda: (native.reset(), native.accept(text[:100_000].encode())), 1)
    print(f"{seconds:8.3f} s  the first 100,000 characters with llama.cpp's matcher, for comparison")
    return int(any(seconds > LIMIT for _, seconds in rows))


if __name__ == "__main__":
    sys.exit(main())
