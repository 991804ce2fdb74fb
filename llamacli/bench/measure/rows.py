"""The rows of a benchmark: llama-bench's columns with its names, values and order, then our own."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llamacli.bench.measure.params import TIMED, BenchResult, Machine, latency
from llamacli.store.benchmarks.columns import COLUMNS, EXTRA_COLUMNS, LLAMA_BENCH_COLUMNS, QUALITY_COLUMNS, TIMING_COLUMNS

__all__ = ["COLUMNS", "EXTRA_COLUMNS", "LLAMA_BENCH_COLUMNS", "TIMING_COLUMNS", "Row", "result_row"]

Row = Mapping[str, Any]
"""Values by column: str, int, float, bool or None; `samples_ns`, `samples_ts` and TIMING_COLUMNS are lists."""

_FLASH = {"auto": -1, "off": 0, "on": 1}


def result_row(result: BenchResult, machine: Machine) -> dict[str, Any]:
    """Return the row of a result: llama-bench's columns, `samples_ns`, `samples_ts`, our own, and TIMING_COLUMNS if timed."""
    row = _llama_bench_part(result, machine)
    row["samples_ns"] = list(result.samples_ns)
    row["samples_ts"] = [float(f"{speed:.6g}") for speed in result.samples_ts]
    row |= _own_part(result)
    if result.test.workload in TIMED and result.samples:
        row["prompt_ns"] = [sample.prompt_ns for sample in result.samples]
        row["steps_ns"] = [list(sample.steps_ns) for sample in result.samples]
    if result.test.workload == "image" and result.samples:
        row["encode_ns"] = [sample.encode_ns for sample in result.samples]
    return row


def _llama_bench_part(result: BenchResult, machine: Machine) -> dict[str, Any]:
    test, model = result.test, result.model
    values = {
        **dataclasses.asdict(machine),
        "model_filename": test.model,
        "model_type": model.kind if model else "",
        "model_size": model.size if model else 0,
        "model_n_params": model.n_params if model else 0,
        "flash_attn": _FLASH[test.flash_attn],
        "devices": "/".join(test.devices) or "auto",
        "tensor_split": "/".join(f"{share:.2f}" for share in test.tensor_split or (0.0,)),
        "n_cpu_moe": 0,
        "tensor_buft_overrides": "none",
        "lazy_mode": "auto",
        "fit_target": 0,
        "fit_min_ctx": 0,
        "no_op_offload": int(test.no_op_offload),
        "test_time": result.test_time,
        "avg_ns": int(result.avg_ns),
        "stddev_ns": int(result.stddev_ns),
        "avg_ts": round(result.avg_ts, 6),
        "stddev_ts": round(result.stddev_ts, 6),
    }
    return {name: values[name] if name in values else getattr(test, name) for name in LLAMA_BENCH_COLUMNS}


def _own_part(result: BenchResult) -> dict[str, Any]:
    test, times, speeds = result.test, result.interval_ns, result.interval_ts
    found = latency(result)
    pictures = [sample for sample in result.samples if sample.image_tokens]
    row = {
        "test": test.name,
        "workload": test.workload,
        "n_parallel": test.n_parallel,
        "kernels": test.kernels,
        "rpc": ",".join(test.rpc),
        "draft": "auto" if test.draft is None else str(test.draft or "off"),
        "prompt_cache": test.prompt_cache,
        "repetitions": len(result.samples),
        "warmups": result.warmups,
        "median_ns": _rounded(result.median_ns or None, 1),
        "low_ns": _rounded(times[0] if times else None, 1),
        "high_ns": _rounded(times[1] if times else None, 1),
        "median_ts": _rounded(result.median_ts or None),
        "low_ts": _rounded(speeds[0] if speeds else None),
        "high_ts": _rounded(speeds[1] if speeds else None),
        "load_ms": _rounded(result.load_ms, 3),
        "peak_memory": result.peak_memory,
        "device_memory": result.device_memory,
        "energy_j": _rounded(result.energy_j),
        "energy_source": result.energy_source or None,
        "ttft_ms": _rounded(found.ttft_ms if found else None),
        "itl_p50_ms": _rounded(found.p50_ms if found else None),
        "itl_p90_ms": _rounded(found.p90_ms if found else None),
        "itl_p99_ms": _rounded(found.p99_ms if found else None),
        "itl_max_ms": _rounded(found.max_ms if found else None),
        "loras": "",
        "image": test.image,
        "mmproj": Path(test.mmproj).name,
        "image_tokens": pictures[0].image_tokens if pictures else None,
        "encode_ms": _rounded(statistics.median(one.encode_ns for one in pictures) / 1e6 if pictures else None),
        **dict.fromkeys(QUALITY_COLUMNS),
        "warnings": "; ".join(result.warnings) or None,
        "error": result.error,
    }
    return {name: row[name] for name in EXTRA_COLUMNS}


def _rounded(value: float | None, digits: int = 6) -> float | None:
    return None if value is None or math.isnan(value) else round(value, digits)
