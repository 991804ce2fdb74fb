"""Fake rows of benchmarks, as `llamacli bench` would write them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from llamacli.bench.compare.runs import subject_of
from llamacli.bench.measure.params import BenchResult, BenchTest, Machine, ModelFacts, Repetition
from llamacli.bench.measure.rows import result_row
from llamacli.bench.statistics import bootstrap_interval
from llamacli.store.benchmarks.history import History, NewRow

MACHINE = Machine(build_commit="0c1e57098", build_number=0, cpu_info="AMD EPYC", gpu_info="", backends="CPU")
FACTS = ModelFacts(kind="llama 256M Q4_1", size=96_576_768, n_params=134_515_008)

ORIGIN: dict[str, Any] = {
    "machine": {
        "cpu": "AMD EPYC", "features": ["AVX2=1", "FMA=1"], "cores": 2, "logical_cpus": 2, "memory": 8 << 30, "devices": [],
    },
    "build": {
        "llamacli": "0.1.0", "llama_cpp": "0c1e57098", "compiler": "GNU 12.2.0", "target": "Linux x86_64", "backends": ["CPU"],
    },
    "system": {"platform": "Linux", "python": "CPython 3.11.7", "memory_available": 4 << 30},
    "models": {"/models/small.gguf": {"name": "Small", "file": "small.gguf", "size": 98_362_432, "header_sha256": "cd2d" * 16}},
}  # fmt: skip


def make_row(
    speeds: Sequence[float] = (100.0, 101.0, 99.0, 100.5, 99.5),
    *,
    error: str | None = None,
    machine: Machine = MACHINE,
    when: str = "2026-05-01T12:00:00Z",
    facts: ModelFacts | None = FACTS,
    **test: Any,
) -> dict[str, Any]:
    """A row with these speeds in tokens per second; `test` are fields of BenchTest."""
    shape = {"n_gen": 16} if not {"n_prompt", "n_gen"} & test.keys() else {}
    of = BenchTest(**{"model": "/models/small.gguf", "n_threads": 2, **shape, **test})
    samples = tuple(Repetition(total_ns=round(1e9 * of.tokens / speed)) for speed in speeds)
    result = BenchResult(
        test=of,
        test_time=when,
        model=facts,
        samples=samples,
        interval_ns=bootstrap_interval([sample.total_ns for sample in samples]) if samples else None,
        load_ms=80.0,
        peak_memory=300 << 20,
        error=error,
    )
    return result_row(result, machine)


def noisy(speed: float, seed: int = 0, *, deviation: float = 0.02, count: int = 5) -> list[float]:
    """Speeds around one."""
    generator = random.Random(f"{speed} {seed}")
    return [speed * generator.gauss(1, deviation) for _ in range(count)]


def save(to: History, *rows: dict[str, Any], origin: dict[str, Any] = ORIGIN, interrupted: bool = False) -> int:
    new = [NewRow(subject_of(row), row) for row in rows]
    return to.save(new, origin=origin, command="llamacli bench -p 64", options={"n_prompt": [[64]]}, interrupted=interrupted)
