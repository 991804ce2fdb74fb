"""Stores a benchmark in the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from llamacli.engine.comparing_rows import thing
from llamacli.engine.measuring_origin import describe_origin
from llamacli.engine.measuring_rows import Row
from llamacli.store.history import History, NewRow


def keep(rows: Sequence[Row], *, command: str, options: Mapping[str, Any], interrupted: bool = False) -> int:
    """Stores rows as one run, with what they ran on; its number. `command` is the command line, `options` what it said.

    Raises:
        LlamacliError: the history cannot be written.
    """
    origin = describe_origin(row["model_filename"] for row in rows)
    with closing(History()) as history:
        new = [NewRow(thing(row), row) for row in rows]
        return history.save(new, origin=origin, command=command, options=options, interrupted=interrupted)
