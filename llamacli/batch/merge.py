"""The results of all shards of an input as one file, proved to be complete: each row once, in order."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from llamacli.batch.output_file import naming_file, sole_writer
from llamacli.batch.results import read_result
from llamacli.batch.shard_record import Record, read_record
from llamacli.errors import UsageError
from llamacli.units import counted


@dataclass(frozen=True, slots=True)
class Merged:
    """The rows of a merged file, and those of them that failed."""

    rows: int
    failed: int


def merge(target: Path, shards: Sequence[Path]) -> Merged:
    """Write the results of all shards to `target`, by row. It appears whole or not at all.

    Keeps 24 bytes of memory a row, and a dictionary of the rows of one shard at a time.

    Raises:
        UsageError: if a shard is missing, unfinished, given twice or of another input, or lacks a row, or has one twice.
        LlamacliError: if the file cannot be written.
    """
    records = {path: read_record(path) for path in shards}
    _check_records(records)
    numbers, places, offsets = array("q"), array("q"), array("q")
    failed = 0
    for place, (path, record) in enumerate(records.items()):
        found, own_failed = _read(path, record)
        failed += own_failed
        for number, offset in found:
            numbers.append(number)
            places.append(place)
            offsets.append(offset)
    _write(target, list(records), numbers, places, offsets)
    return Merged(len(numbers), failed)


def _check_records(records: dict[Path, Record]) -> None:
    """Raise UsageError unless the records are those of all shards of one input."""
    (first_path, first), *others = records.items()
    seen = {first.shard.place: first_path}
    for path, record in others:
        if (record.shard.count, record.total, record.input) != (first.shard.count, first.total, first.input):
            raise UsageError(f"{path} (shard {record.shard}) and {first_path} (shard {first.shard}) are of different inputs")
        if record.shard.place in seen:
            raise UsageError(f"{path} and {seen[record.shard.place]} are the same shard, {record.shard}")
        seen[record.shard.place] = path
    missing = [place for place in range(1, first.shard.count + 1) if place not in seen]
    if missing:
        named = ", ".join(f"{place}/{first.shard.count}" for place in missing[:8])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise UsageError(f"{'a shard is' if len(missing) == 1 else 'shards are'} missing: {named}{more}")
    if (rows := sum(record.rows for record in records.values())) != first.total:
        raise UsageError(f"the shards have {counted(rows, 'row')}, the input {first.total:,}")


def _read(path: Path, record: Record) -> tuple[list[tuple[int, int]], int]:
    """The rows of a shard with their offsets, and the number of failed ones. Raises UsageError unless they are its own."""
    found: dict[int, int] = {}
    failed = offset = 0
    try:
        with path.open("rb") as file:
            for line in file:
                result = read_result(line)
                if result is None or not line.endswith(b"\n"):
                    raise UsageError(f"{path} has a line that is not a result", hint="run the shard again with --resume")
                number, is_failed = result
                if number in found:
                    raise UsageError(f"{path} has row {number} twice")
                if not record.shard.takes(number):
                    raise UsageError(f"{path} has row {number}, which is not of shard {record.shard}")
                found[number] = offset
                failed += is_failed
                offset += len(line)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if len(found) != record.rows:
        raise UsageError(f"{path} has {counted(len(found), 'row')}, and its record says {record.rows:,}")
    return list(found.items()), failed


def _write(target: Path, paths: Sequence[Path], numbers: array[int], places: array[int], offsets: array[int]) -> None:
    import numpy as np

    real = target.resolve()
    part = real.with_name(f".{real.name}.merged")
    with sole_writer(target), naming_file(target), ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")) for path in paths]
        try:
            with part.open("wb") as out:
                for index in np.argsort(np.frombuffer(numbers, dtype=np.int64)) if numbers else ():
                    file = files[places[index]]
                    file.seek(offsets[index])
                    out.write(file.readline())
                out.flush()
                os.fsync(out.fileno())
            part.replace(real)
        finally:
            part.unlink(missing_ok=True)
