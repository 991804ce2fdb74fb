"""Keywords of a JSON schema without effect on its grammar."""

from __future__ import annotations

from llamacli.values import dataclass


@dataclass(frozen=True, slots=True)
class NotEnforced:
    """`keyword` at the JSON pointer `path` (of the schema that has it) has no effect on the grammar, for this reason."""

    path: str
    keyword: str
    reason: str
