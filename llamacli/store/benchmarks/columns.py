"""The columns of benchmark rows, and the validation of rows that other programs may have written or altered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from llamacli.store.files.records import has_shape, is_integer, is_number, is_text, optional

ColumnType = Literal["text", "integer", "real", "boolean"]

LLAMA_BENCH_COLUMNS: dict[str, ColumnType] = {
    "build_commit": "text", "build_number": "integer", "cpu_info": "text", "gpu_info": "text", "backends": "text",
    "model_filename": "text", "model_type": "text", "model_size": "integer", "model_n_params": "integer", "n_batch": "integer",
    "n_ubatch": "integer", "n_threads": "integer", "cpu_mask": "text", "cpu_strict": "boolean", "poll": "integer",
    "type_k": "text", "type_v": "text", "n_gpu_layers": "integer", "n_cpu_moe": "integer", "split_mode": "text",
    "main_gpu": "integer", "no_kv_offload": "boolean", "flash_attn": "integer", "devices": "text", "tensor_split": "text",
    "tensor_buft_overrides": "text", "load_mode": "text", "lazy_mode": "text", "embeddings": "boolean",
    "no_op_offload": "integer", "no_host": "boolean", "repack": "boolean", "fit_target": "integer", "fit_min_ctx": "integer",
    "n_prompt": "integer", "n_gen": "integer", "n_depth": "integer", "test_time": "text", "avg_ns": "integer",
    "stddev_ns": "integer", "avg_ts": "real", "stddev_ts": "real",
}  # fmt: skip
"""`n_cpu_moe`, `tensor_buft_overrides`, `lazy_mode`, `fit_target` and `fit_min_ctx` always have llama-bench's default here."""

QUALITY_COLUMNS: dict[str, ColumnType] = {
    "perplexity": "real", "perplexity_low": "real", "perplexity_high": "real", "kld": "real", "kld_low": "real",
    "kld_high": "real", "same_top": "real", "same_top_low": "real", "same_top_high": "real", "accuracy": "real",
    "accuracy_low": "real", "accuracy_high": "real", "accuracy_norm": "real", "accuracy_norm_low": "real",
    "accuracy_norm_high": "real", "tokens_sha256": "text",
}  # fmt: skip
"""Columns of the workload `quality`.

`kld` is the mean KL divergence from a reference in nats; `same_top` and accuracies are shares, `accuracy_norm` with log
probabilities divided by lengths. `tokens_sha256` is the hash of the judged tokens, or of the file of questions.
"""

EXTRA_COLUMNS: dict[str, ColumnType] = {
    "test": "text", "workload": "text", "n_parallel": "integer", "kernels": "text", "repetitions": "integer",
    "warmups": "integer", "rpc": "text", "draft": "text", "prompt_cache": "boolean",
    "median_ns": "real", "low_ns": "real", "high_ns": "real", "median_ts": "real", "low_ts": "real", "high_ts": "real",
    "load_ms": "real", "peak_memory": "integer", "device_memory": "integer", "energy_j": "real", "energy_source": "text",
    "ttft_ms": "real", "itl_p50_ms": "real", "itl_p90_ms": "real", "itl_p99_ms": "real", "itl_max_ms": "real",
    "loras": "text", "image": "text", "mmproj": "text", "image_tokens": "integer", "encode_ms": "real",
    **QUALITY_COLUMNS,
    "warnings": "text", "error": "text",
}  # fmt: skip
"""Columns that llama-bench lacks. None if unknown. `low` and `high` are bounds of 95 % intervals, of the median for times.

`image` is the size of the picture before a prompt, empty without one, and `encode_ms` the median time of its encoding.
"""

FORMER: dict[str, Any] = {
    "kernels": "upstream", "loras": "", "rpc": "", "image": "", "mmproj": "", "image_tokens": None, "encode_ms": None,
    "draft": "off", "prompt_cache": False,
    **dict.fromkeys(QUALITY_COLUMNS),
}  # fmt: skip
"""Extra columns that rows of earlier versions lack, with the values that held then."""

TIMING_COLUMNS = ("prompt_ns", "steps_ns", "encode_ns")
"""Lists with an entry for each repetition, only in JSON, for tests that time each token, or the encoding of a picture.

Entries of `steps_ns` are lists.
"""

QUALITY = "quality"
"""The key of a document, only in JSON, in rows of the workload of that name: see `QUALITY_SHAPE`."""

COLUMNS: dict[str, ColumnType] = LLAMA_BENCH_COLUMNS | EXTRA_COLUMNS

_ESTIMATE = {"value": is_number, "low": optional(is_number), "high": optional(is_number)}

QUESTIONS_SHAPE = {"kind": is_text, "text": is_text, "text_sha256": is_text, "correct": [is_integer]}
"""What the quality document of questions has: 1 for each that was answered correctly, else 0."""

QUALITY_SHAPE = {
    "kind": is_text, "text": is_text, "text_sha256": is_text, "window": is_integer, "stride": optional(is_integer),
    "judged": is_integer, "losses": [is_number], "counts": [is_integer],
}  # fmt: skip
"""What that of a text has: sums of negative log probabilities and numbers of judged tokens, one for each window."""

REFERENCE_SHAPE = {
    "name": is_text, "perplexity": _ESTIMATE, "log_ratio": _ESTIMATE, "divergence": _ESTIMATE,
    "divergence_quantiles": {"*": _ESTIMATE}, "same_top": _ESTIMATE, "change": _ESTIMATE, "rms_change": _ESTIMATE,
    "divergences": [is_number],
}  # fmt: skip
"""What its `reference` has, if there was one; `divergences` are sums for each window."""

_NAMES: dict[ColumnType, str] = {
    "text": "a string", "integer": "an integer", "real": "a number", "boolean": "a boolean",
}  # fmt: skip
_SAMPLES = ("samples_ns", "samples_ts", *TIMING_COLUMNS)
_FLASH_ATTENTION = (-1, 0, 1)
_MAX_INTEGER = 1 << 63
_MAX_REAL = 1e300


def type_problem(row: Mapping[str, Any]) -> str | None:
    """The first column with a value of a wrong type, None if all are right. Missing columns and null are accepted."""
    return next(_type_problems(row), None)


def stored_problem(row: Mapping[str, Any]) -> str | None:
    """The first problem of a row of the history, which has every column of llama-bench and `test`; None if it is valid."""
    return next(_stored_problems(row), None)


def _type_problems(row: Mapping[str, Any]) -> Iterator[str]:
    for name, kind in COLUMNS.items():
        value = row.get(name)
        if value is not None and not _has_type(value, kind):
            yield f"{name} must be {_NAMES[kind]}"
    for name in _SAMPLES:
        if name in row and not _are_samples(row[name], nested=name == "steps_ns"):
            yield f"{name} must be positive numbers"
    if QUALITY in row and not _is_quality(row[QUALITY]):
        yield f"{QUALITY} is incomplete"


def _stored_problems(row: Mapping[str, Any]) -> Iterator[str]:
    yield from _type_problems(row)
    for name in (*LLAMA_BENCH_COLUMNS, "test", "workload", "n_parallel", "repetitions"):
        if row.get(name) is None:
            yield f"{name} is missing"
    for name in EXTRA_COLUMNS:
        if name not in row and name not in FORMER:
            yield f"{name} is missing"
    if row["flash_attn"] not in _FLASH_ATTENTION:
        yield f"flash_attn is {row['flash_attn']}"
    median, low, high = (row[name] is None for name in ("median_ts", "low_ts", "high_ts"))
    if low != high or (median and not low):  # a single sample has no interval
        yield "median_ts, low_ts and high_ts do not agree"


def _is_quality(value: object) -> bool:
    """Return whether a quality document is whole."""
    if isinstance(value, Mapping) and value.get("kind") in ("tasks", "exact"):
        return has_shape(value, QUESTIONS_SHAPE)
    if not isinstance(value, Mapping) or not has_shape(value, QUALITY_SHAPE):
        return False
    windows = len(value["losses"])
    reference = value.get("reference")
    if len(value["counts"]) != windows or min(value["counts"], default=1) < 1:
        return False
    return reference is None or (has_shape(reference, REFERENCE_SHAPE) and len(reference["divergences"]) == windows)


def _has_type(value: object, kind: ColumnType) -> bool:
    match kind:
        case "text":
            return isinstance(value, str)
        case "boolean":
            return value in (0, 1)
        case "integer":
            return isinstance(value, int) and abs(value) < _MAX_INTEGER
        case "real":
            return _is_number(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < _MAX_REAL


def _are_samples(value: object, *, nested: bool) -> bool:
    if not isinstance(value, list):
        return False
    if nested:
        return all(_are_samples(one, nested=False) for one in value)
    return all(_is_number(one) and one >= 0 for one in value)
