"""Altered files for fuzz tests: bytes changed anywhere, and SQLite cells set to values that do not belong there."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

DOCUMENTS = ("", "null", "[]", "{}", "0", '"x"', "{", "NaN", "[" * 400 + "]" * 400, "[" * 100_000, '{"role": "user"}',
             '{"role": 7, "content": []}', '{"role": "assistant", "tool_calls": [{}]}', "9" * 5000)  # fmt: skip
VALUES = (None, 0, -1, 1, 3, 1 << 40, (1 << 63) - 1, -(1 << 63), 0.5, -1e308, 1e308, float("inf"), "", "x", "\x00", "\ud7ff",
          "x" * 10_000, b"", b"\xff\xfe", b"GGUF", *DOCUMENTS)  # fmt: skip


def alter_bytes(data: bytes, chance: random.Random) -> bytes:
    """The data with one to four changes: bits, bytes, numbers, pieces that are removed, repeated or filled, or a cut."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        start = chance.randrange(len(changed) + 1)
        length = chance.choice((1, 1, 2, 4, 16, 256))
        match chance.randrange(7):
            case 0 if start < len(changed):
                changed[start] ^= 1 << chance.randrange(8)
            case 1:
                changed[start : start + length] = chance.randbytes(length)
            case 2:
                del changed[start : start + length]
            case 3:
                changed[start:start] = changed[start : start + length]
            case 4:
                changed[start : start + length] = bytes(min(length, len(changed) - start))
            case 5:
                del changed[start:]
            case _:
                changed[start:start] = chance.choice((b"-1", b"null", b"[]", b"{}", b'"', b"1e999", b"99999999999999999999"))
    return bytes(changed)


def alter_cell(path: Path, chance: random.Random) -> str:
    """Set one cell of the database to a value that does not belong there. Returns what was done."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("pragma foreign_keys = off")
        names = [name for (name,) in database.execute(
            "select name from sqlite_schema where type = 'table' and sql not like '%virtual%' and name not like 'found_%'"
        )]  # fmt: skip
        for _ in range(100):
            table = chance.choice(names)
            column = chance.choice([row[1] for row in database.execute(f"pragma table_info({table})")])
            keys = [row[1] for row in database.execute(f"pragma table_info({table})") if row[5]] or ["rowid"]
            rows = database.execute(f"select {', '.join(keys)} from {table}").fetchall()
            if not rows:
                continue
            row, value = chance.choice(rows), chance.choice(VALUES)
            old = database.execute(f"select {column} from {table} where {' and '.join(f'{key} is ?' for key in keys)}", row)
            if isinstance(text := old.fetchone()[0], str) and chance.random() < 0.5:
                value = alter_bytes(text.encode(), chance).decode("utf-8", "replace")
            with contextlib.suppress(sqlite3.Error):
                changed = database.execute(
                    f"update {table} set {column} = ? where {' and '.join(f'{key} is ?' for key in keys)}", (value, *row)
                )
                if changed.rowcount:
                    return f"{table}.{column} of {row} = {value!r:.200}"
    return "nothing"


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer."""

    def stop(*_: object) -> None:
        raise AssertionError(f"it took longer than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
