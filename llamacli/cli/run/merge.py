"""`llamacli run --merge`: the results of shards become one file."""

from __future__ import annotations

from pathlib import Path

from llamacli.batch.formats import result_format
from llamacli.batch.merge import merge
from llamacli.batch.result_table import kept_file, publish
from llamacli.cli.framework.context import AppContext
from llamacli.errors import RowsFailedError, UsageError
from llamacli.units import counted


def merge_shards(app: AppContext, target: Path, shards: tuple[Path, ...]) -> None:
    """Write the results of all shards to a file: JSON lines, or by its name a table.

    Raises:
        UsageError: if the file exists, or the shards are not complete.
        RowsFailedError: if some rows have errors in place of answers. The file is written.
    """
    if not shards:
        raise UsageError("--merge OUT needs the shards' files", hint="llamacli run --merge all.jsonl shard-*.jsonl")
    if target.exists() and (not target.is_file() or target.stat().st_size):
        raise UsageError(f"{target} already has content", hint="remove it, or name another file")
    kind = result_format(target.name)
    done = merge(target if kind == "jsonl" else kept_file(target), shards)
    if kind != "jsonl":
        publish(target, kind)
    app.console.note(f"{counted(done.rows, 'row')} of {counted(len(shards), 'shard')}, each row once; {done.failed:,} failed")
    if done.failed:
        raise RowsFailedError(f"{done.failed} of {counted(done.rows, 'row')} failed", failed=done.failed, total=done.rows)
