"""Stored benchmark runs, listed or with their provenance, as text or as JSON documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from llamacli.render.text import escape_line
from llamacli.render.wrap import cut, shorten, wrap
from llamacli.store.benchmarks.history import RunSummary, StoredRun
from llamacli.units import format_bytes

_GAP = "  "
_TABLE_WIDTH = 72
_WITH_BUILD = 100
_MODEL_WIDTH = 28
_LEAST_NAME = 12
"""Columns that a cut name has at least."""


def format_history(runs: Sequence[RunSummary], *, width: int) -> str:
    """Return a line for each run; two or more on a narrow terminal."""
    if not runs:
        return "No benchmarks found; `llamacli bench` runs and stores one.\n"
    number = max(3, *(len(str(run.id)) for run in runs))
    if width < _TABLE_WIDTH:
        return "\n".join(line for run in runs for line in _stacked(run, number, width)) + "\n"
    models = {
        run.id: shorten(", ".join(escape_line(name.removesuffix(".gguf")) for name in run.models), _MODEL_WIDTH) for run in runs
    }
    model = max(5, *map(len, models.values()))
    build = 9 if width >= _WITH_BUILD else 0
    titles = [f"{'RUN':>{number}}", f"{'WHEN':<16}", f"{'BUILD':<{build}}"[:build], f"{'MODEL':<{model}}", "TOKENS/S"]
    lines = [_GAP.join(filter(None, titles))]
    for run in runs:
        cells = [f"{run.id:>{number}}", _when(run.created), f"{run.llama_cpp:<{build}}"[:build], f"{models[run.id]:<{model}}"]
        start = _GAP.join([*filter(None, cells), ""])
        lines.append(start + cut(_results(run), max(width - len(start), 12)))
    return "\n".join(lines) + "\n"


def history_document(runs: Sequence[RunSummary]) -> dict[str, Any]:
    """Return the JSON document, the latest run first; the speed of a failed test is null."""
    return {"object": "list", "data": [_listed_document(run) for run in runs]}


def format_run(run: StoredRun, *, width: int) -> str:
    """Return the header of a run: its time, command and provenance."""
    machine, build, system = run.origin["machine"], run.origin["build"], run.origin["system"]
    devices = [f"{one['description']} ({format_bytes(one['memory'])})" for one in machine["devices"]]
    facts = [
        ("run", f"{run.id}, {_when(run.created)} UTC" + (", interrupted" if run.interrupted else "")),
        ("command", run.command),
        ("machine", f"{run.machine}: {machine['cpu']}, {machine['cores']} cores, {format_bytes(machine['memory'])}"),
        ("devices", ", ".join(devices)),
        ("features", ", ".join(_feature(text) for text in machine["features"])),
        ("system", system["platform"]),
        ("build", f"{run.build}: llamacli {build['llamacli']}, llama.cpp {build['llama_cpp']}, {build['compiler']}"),
        *(("model", f"{path}: {one['header_sha256'][:12]}, {format_bytes(one['size'])}") for path, one in _models(run)),
    ]
    lines = [line for name, value in facts if value for line in _fact(name, value, width)]
    return "\n".join(lines) + "\n\n"


def run_document(run: StoredRun) -> dict[str, Any]:
    """Return the JSON document of a run."""
    return {
        "id": run.id,
        "object": "benchmark",
        "created": _iso(run.created),
        "command": run.command,
        "options": dict(run.options),
        "machine": run.machine,
        "build": run.build,
        "origin": dict(run.origin),
        "interrupted": run.interrupted,
        "rows": [dict(row) for row in run.rows],
    }


def _fact(name: str, value: str, width: int) -> list[str]:
    return wrap(escape_line(value), width, first=f"{name:<9}")


def _models(run: StoredRun) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from run.origin["models"].items()


def _feature(text: str) -> str:
    """Return `AVX2=1` as AVX2, others unchanged."""
    return text.removesuffix("=1")


def _stacked(run: RunSummary, number: int, width: int) -> Iterator[str]:
    yield cut(f"{run.id:>{number}}{_GAP}{_when(run.created)}{_GAP}{run.llama_cpp}", width)
    indent = " " * (number + len(_GAP))
    models = ", ".join(shorten(escape_line(name), max(width - len(indent) - 1, _LEAST_NAME)) for name in run.models)
    for text in (models, _results(run)):
        yield from wrap(text, width, first=indent)


def _results(run: RunSummary) -> str:
    """Return the tests with their speeds: `pp512 376.30, tg128 98.10`."""
    parts = [f"{escape_line(test)} {'failed' if speed is None else f'{speed:.2f}'}" for test, speed in run.results]
    return ", ".join(parts) + (" (interrupted)" if run.interrupted else "")


def _listed_document(run: RunSummary) -> dict[str, Any]:
    return {
        "id": run.id,
        "object": "benchmark",
        "created": _iso(run.created),
        "command": run.command,
        "machine": run.machine,
        "build": run.build,
        "llama_cpp": run.llama_cpp,
        "interrupted": run.interrupted,
        "models": list(run.models),
        "results": [{"test": test, "median_ts": speed} for test, speed in run.results],
    }


def _when(created: float) -> str:
    return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%d %H:%M")


def _iso(created: float) -> str:
    return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
