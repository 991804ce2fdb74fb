"""`llamacli run --input` in this process, with the real engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fakes import Result, invoke

from llamacli.cli.framework import context


def run(model: Path, *arguments: str, **how: Any) -> Result:
    """Runs in this process, with the real engine."""
    common = ("run", "-m", str(model), "-t", "1", "-c", "256", "--temp", "0", "--ignore-eos", "-n", "6")
    return invoke(*common, *arguments, **{"open_engine": context.open_engine, **how})


def lines(text: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(result: Result) -> list[str]:
    return [row["text"] for row in lines(result.stdout)]
