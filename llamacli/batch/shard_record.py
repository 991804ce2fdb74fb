"""The rows of a shard, and the record that proves what a finished shard has answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llamacli.batch.output_file import naming_file
from llamacli.batch.shard import Shard
from llamacli.errors import InvalidJSONError, UsageError
from llamacli.json_text import parse_json
from llamacli.openai.batch_row import Row
from llamacli.store.files.records import has_shape, is_integer, is_text
from llamacli.values import dataclass

_MOST_RECORD_BYTES = 1 << 16
_SHAPE = dict.fromkeys(("shard", "shards", "rows", "total"), is_integer) | {"input": is_text}


class ShardRows:
    """The rows of a shard. All rows of the input are read, so that the record can say what the input was."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._digest = hashlib.sha256()
        self._own = self._all = 0

    def of(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Yield the rows of the shard."""
        for row in rows:
            text = json.dumps([row.number, row.fields, row.problem], separators=(",", ":"))
            self._digest.update(text.encode() + b"\n")
            self._all += 1
            if self._shard.takes(row.number):
                self._own += 1
                yield row

    def record(self) -> Record:
        """Return the record, after all rows."""
        return Record(self._shard, rows=self._own, total=self._all, input=self._digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Record:
    """What a finished shard has answered: its rows, of all rows of an input with this hash."""

    shard: Shard
    rows: int
    total: int
    input: str

    def write(self, results: Path) -> None:
        """Write it beside a file of results. Raises LlamacliError if it cannot be written."""
        document = {
            "shard": self.shard.place, "shards": self.shard.count, "rows": self.rows, "total": self.total, "input": self.input,
        }  # fmt: skip
        path = record_path(results)
        with naming_file(path):
            path.write_text(json.dumps(document) + "\n", encoding="utf-8")


def record_path(results: Path) -> Path:
    """Return the path of the record of a file of results."""
    return results.with_name(f"{results.name}.shard")


def read_record(results: Path) -> Record:
    """Read the record of a file of results. Raises UsageError if the shard has not finished, or the record was altered."""
    path = record_path(results)
    try:
        with path.open("rb") as file:
            document: Any = parse_json(file.read(_MOST_RECORD_BYTES), source=str(path))
    except FileNotFoundError:
        raise UsageError(
            f"{results} is not a finished shard: there is no {path.name}", hint="run it again with --resume"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except InvalidJSONError as error:
        raise UsageError(f"{path} is not the record of a shard: {error.message}") from error
    if not has_shape(document, _SHAPE):
        raise UsageError(f"{path} is not the record of a shard")
    shard = Shard(document["shard"], document["shards"])
    return Record(shard, document["rows"], document["total"], document["input"])
