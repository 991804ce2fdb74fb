"""The fuzzer: mutants by the million, each used in a child of its own. See README.md beside this file."""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

os.environ["GGML_NO_BACKTRACE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]

import cases  # noqa: E402 - from this folder
from forked import Outcome  # noqa: E402


def signature(reason: str) -> str:
    """The reason without what differs from file to file: numbers, names in quotes, paths."""
    text = reason.strip().splitlines()[-1] if reason.strip() else ""
    return re.sub(r"'[^']*'|\d+(\.\d+)?", "…", re.sub(r"\S*/", "", text))[:160]


def main() -> int:
    """Run the cases that the arguments name. Returns 1 if there is a defect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", action="append", choices=sorted(cases.KINDS), help="default: all, in turns")
    parser.add_argument("--cases", type=int, default=1000, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, help="folder for progress and findings; a later run goes on there")
    parser.add_argument("--seconds", type=float, help="stop after so many seconds")
    parser.add_argument("--case", type=int, help="run one case, and say all about it")
    parser.add_argument("--keep", type=Path, help="with --case: write the mutant to this file")
    options = parser.parse_args()
    kinds = options.kind or sorted(cases.KINDS)
    if options.case is not None:
        return show(kinds[0], options.seed, options.case, options.keep)
    return fuzz(kinds, options.seed, options.cases, options.state, options.seconds)


def show(kind: str, seed: int, number: int, keep: Path | None) -> int:
    """Run one case."""
    with tempfile.TemporaryDirectory() as folder:
        mutant, _, _ = cases.make(kind, seed, number, Path(folder))
        if keep is not None:
            keep.write_bytes(mutant.encode("utf-8", "surrogatepass") if isinstance(mutant, str) else mutant)
        done, ended = cases.outcome(kind, seed, number, Path(folder))
    print(f"{kind} {number}: {done}\n{ended.kind}: {ended.reason}\n{json.dumps(ended.said, ensure_ascii=False)}")
    print(f"finding: {cases.finding(ended)}")
    return int(cases.finding(ended) is not None)


def fuzz(kinds: list[str], seed: int, count: int, state: Path | None, seconds: float | None) -> int:
    """Run `count` cases of each kind, from where an earlier run in `state` stopped."""
    ends = time.monotonic() + seconds if seconds is not None else None
    ended_as: collections.Counter[tuple[str, str]] = collections.Counter()
    found: dict[tuple[str, str, str], list[int]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            progress = state / f"{kind}-{seed}.json" if state is not None else None
            number = json.loads(progress.read_text())["next"] if progress is not None and progress.exists() else 0
            while number < count and (ends is None or time.monotonic() < ends):
                done, ended = cases.outcome(kind, seed, number, Path(folder))
                ended_as[kind, ended.kind] += 1
                if (what := cases.finding(ended)) is not None:
                    found[kind, what, signature(ended.reason)].append(number)
                    if state is not None:
                        record(state / "findings.jsonl", kind, seed, number, what, done, ended)
                number += 1
                if progress is not None:
                    progress.parent.mkdir(parents=True, exist_ok=True)
                    progress.write_text(json.dumps({"next": number}))
    for (kind, how), times in sorted(ended_as.items()):
        print(f"{kind}: {times} {how}")
    for (kind, what, reason), numbers in sorted(found.items(), key=lambda item: -len(item[1])):
        print(f"{kind}: {what}, {len(numbers)} times ({', '.join(map(str, numbers[:4]))}): {reason}")
    return int(any(what in cases.DEFECTS for _, what, _ in found))


def record(path: Path, kind: str, seed: int, number: int, what: str, done: str, ended: Outcome) -> None:
    """Append a finding."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"kind": kind, "seed": seed, "case": number, "finding": what, "done": done, "reason": ended.reason, **ended.said}
    with path.open("a") as file:
        file.write(json.dumps(row, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
