"""Benchmark rows in llama-bench's formats: CSV, JSON, JSON lines, SQL and Markdown. Our columns follow llama-bench's.

Every format is written incrementally: its beginning, each row, its end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from llamacli.bench.measure.params import TIMED
from llamacli.bench.measure.rows import COLUMNS, LLAMA_BENCH_COLUMNS, Row

SHORT_NAMES = {
    "n_gpu_layers": "ngl", "split_mode": "sm", "n_threads": "threads", "no_kv_offload": "nkvo", "flash_attn": "fa",
    "load_mode": "lm", "embeddings": "embd", "no_op_offload": "nopo", "no_host": "noh", "repack": "rpk", "devices": "dev",
    "tensor_split": "ts", "prompt_cache": "prompt cache",
}  # fmt: skip
"""llama-bench's headings for columns whose names it does not use in tables."""

_SETTINGS: dict[str, object] = {
    "n_gpu_layers": None, "n_threads": None, "cpu_mask": "0x0", "cpu_strict": False, "poll": 50, "n_batch": 2048,
    "n_ubatch": 512, "type_k": "f16", "type_v": "f16", "main_gpu": 0, "split_mode": "layer", "no_kv_offload": False,
    "flash_attn": -1, "devices": "auto", "tensor_split": "0.00", "load_mode": "auto", "embeddings": False, "no_op_offload": 0,
    "no_host": False, "repack": True, "kernels": "own", "loras": "", "rpc": "", "mmproj": "",
    "draft": "off", "prompt_cache": False,
}  # fmt: skip
"""Columns that a table shows only if a row differs from the default, in llama-bench's order."""

_QUALITY = {
    "perplexity": "ppl", "kld": "kld", "same_top": "same top", "accuracy": "accuracy", "accuracy_norm": "normalised",
}  # fmt: skip

_LATENCY = {
    "ttft_ms": "ttft ms", "itl_p50_ms": "p50 ms", "itl_p90_ms": "p90 ms", "itl_p99_ms": "p99 ms", "itl_max_ms": "max ms",
}  # fmt: skip

_IMAGE = {"image_tokens": "image tokens", "encode_ms": "encode ms"}

_FIGURES = _LATENCY | _IMAGE | _QUALITY

_WIDTHS = {
    "model": -30, "size": 10, "params": 10, "backend": -10, "test": 15, "t/s": 20, "n_gpu_layers": 3, "n_threads": 7,
    "n_batch": 7, "n_ubatch": 8, "type_k": 6, "type_v": 6, "split_mode": 6, "flash_attn": 3, "devices": -12,
    "no_op_offload": 4, "no_host": 4, "repack": 3, "load_mode": 10, "kernels": -8, "draft": 5, "prompt_cache": 12,
}  # fmt: skip
"""Widths of Markdown columns as in llama-bench; negative means aligned to the left."""


class RowFormat(Protocol):
    """A format in which rows are written."""

    def begin(self) -> str:
        """Return the text before the first row."""

    def row(self, row: Row) -> str:
        """Return the text of one row."""

    def end(self) -> str:
        """Return the text after the last row."""


def shown_settings(rows: Sequence[Row]) -> list[str]:
    """Return the settings that a table of these rows must show."""
    on_cpu = all(any(name in row["backends"] for name in ("CPU", "BLAS", "ZenDNN")) for row in rows)
    shown = []
    for name, default in _SETTINGS.items():
        values = {row[name] for row in rows}
        if name == "n_gpu_layers":
            wanted = not on_cpu
        elif name == "n_threads":
            wanted = on_cpu or len(values) > 1
        else:
            wanted = values != {default}
        if wanted:
            shown.append(name)
    return shown


class CsvFormat:
    """A line of names, then a line of quoted values for each row."""

    def begin(self) -> str:
        """Return the line of names."""
        return ",".join(COLUMNS) + "\n"

    def row(self, row: Row) -> str:
        """Return the line of values; unknown ones are empty."""
        cells = (format_value(name, row.get(name)) for name in COLUMNS)
        return ",".join('"' + (cell or "").replace('"', '""') + '"' for cell in cells) + "\n"

    def end(self) -> str:
        """Return the empty string."""
        return ""


class JsonLinesFormat:
    """An object on each line."""

    def begin(self) -> str:
        """Return the empty string."""
        return ""

    def row(self, row: Row) -> str:
        """Return the object on one line."""
        return json.dumps(dict(row)) + "\n"

    def end(self) -> str:
        """Return the empty string."""
        return ""


class JsonFormat:
    """One array of objects."""

    def __init__(self) -> None:
        self._first = True

    def begin(self) -> str:
        """Return the opening bracket."""
        return "[\n"

    def row(self, row: Row) -> str:
        """Return the object with a line for each value."""
        before = "" if self._first else ",\n"
        self._first = False
        return before + "  {\n" + ",\n".join(f'    "{name}": {json.dumps(value)}' for name, value in row.items()) + "\n  }"

    def end(self) -> str:
        """Return the closing bracket."""
        return "]\n" if self._first else "\n]\n"


class SqlFormat:
    """Statements for SQLite: a table of llama-bench's name, and the rows."""

    _TYPES = {"text": "TEXT", "integer": "INTEGER", "boolean": "INTEGER", "real": "REAL"}  # noqa: RUF012  # constant

    def begin(self) -> str:
        """Return the statement that creates the table."""
        columns = ",\n".join(f"  {name} {self._TYPES[kind]}" for name, kind in COLUMNS.items())
        return f"CREATE TABLE IF NOT EXISTS llama_bench (\n{columns}\n);\n\n"

    def row(self, row: Row) -> str:
        """Return an INSERT statement."""
        cells = (format_value(name, row.get(name)) for name in COLUMNS)
        values = ", ".join("NULL" if cell is None else "'" + cell.replace("'", "''") + "'" for cell in cells)
        return f"INSERT INTO llama_bench ({', '.join(COLUMNS)}) VALUES ({values});\n"  # noqa: S608  # quoted for SQLite's shell

    def end(self) -> str:
        """Return the empty string."""
        return ""


class MarkdownFormat:
    """llama-bench's table. `planned` are the coming rows as far as known: their settings determine the columns."""

    def __init__(self, planned: Sequence[Row]) -> None:
        workloads = {row["workload"] for row in planned}
        pictures, timed = "image" in workloads, workloads & set(TIMED)
        figures = [*(_IMAGE if pictures else ()), *(_LATENCY if timed else ()), *quality_columns(planned)]
        self._columns = ["model", "size", "params", "backend", *shown_settings(planned), "test", "t/s", *figures]
        self._build = f"{planned[0]['build_commit']} ({planned[0]['build_number']})" if planned else ""

    def begin(self) -> str:
        """Return the headings and the rule below them."""
        names = (SHORT_NAMES.get(column, _FIGURES.get(column, column)) for column in self._columns)
        widths = [_width(column) for column in self._columns]
        rules = ("-" * (abs(width) - 1) + (":" if width > 0 else "-") for width in widths)
        return _line(names, widths) + _line(rules, widths)

    def row(self, row: Row) -> str:
        """Return the line of a row."""
        cells = [_cell(row, column) for column in self._columns]
        return _line(cells, [_width(column) for column in self._columns])

    def end(self) -> str:
        """Return the line that names the build."""
        return f"\nbuild: {self._build}\n"


def format_value(name: str, value: Any) -> str | None:
    """Return a value as llama-bench writes it outside JSON: 1 for true, six decimals for speeds. None stays None."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(int(value))
    if name in LLAMA_BENCH_COLUMNS and LLAMA_BENCH_COLUMNS[name] == "real":
        return f"{value:.6f}"
    return str(value)


def quality_columns(rows: Sequence[Row]) -> list[str]:
    """Return the figures of quality that any of the rows has."""
    return [name for name in _QUALITY if any(row[name] is not None for row in rows)]


def _quality_figure(row: Row, column: str) -> str:
    """Return a figure of quality with half the width of its interval: `15.39 ± 0.42`, shares in percent."""
    value, low, high = (row[f"{column}{bound}"] for bound in ("", "_low", "_high"))
    if value is None:
        return ""
    scale, digits = {"perplexity": (1, 4), "kld": (1, 6)}.get(column, (100, 2))
    unit = " %" if scale == 100 else ""
    if low is None or high is None:
        return f"{scale * value:.{digits}f}{unit}"
    return f"{scale * value:.{digits}f} ± {scale * (high - low) / 2:.{digits}f}{unit}"


def format_model_size(size: int) -> str:
    """Return the size of a model's tensors: `92.10 MiB`."""
    return f"{size / 2**20:.2f} MiB" if size < 2**30 else f"{size / 2**30:.2f} GiB"


def format_parameters(count: int) -> str:
    """Return the number of parameters: `134.52 M`."""
    return f"{count / 1e6:.2f} M" if count < 10**9 else f"{count / 1e9:.2f} B"


def _cell(row: Row, column: str) -> str:
    if column == "t/s":
        return "failed: " + " ".join(row["error"].split()).replace("|", "/") if row["error"] else _speed(row)
    if column in _LATENCY or column == "encode_ms":
        return "" if row[column] is None else f"{row[column]:.2f}"
    if column in _QUALITY:
        return _quality_figure(row, column)
    special = {
        "model": row["model_type"] or row["model_filename"].rpartition("/")[2],
        "size": format_model_size(row["model_size"]),
        "params": format_parameters(row["model_n_params"]),
        "backend": row["backends"],
    }
    return str(special[column]) if column in special else format_value(column, row[column]) or ""


def _speed(row: Row) -> str:
    return f"{row['avg_ts']:.2f} ± {row['stddev_ts']:.2f}"


def _width(column: str) -> int:
    if column in _WIDTHS:
        return _WIDTHS[column]
    if column in _LATENCY or column in _IMAGE:
        return max(8, len(_FIGURES[column]))
    if column in _QUALITY:
        return 22
    width = max(len(column), 10)
    return -width if COLUMNS.get(column) == "text" else width


def _line(cells: Iterable[str], widths: Sequence[int]) -> str:
    texts = (cell.rjust(width) if width > 0 else cell.ljust(-width) for cell, width in zip(cells, widths, strict=True))
    return "| " + " | ".join(texts) + " |\n"
