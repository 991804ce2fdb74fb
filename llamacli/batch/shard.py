"""Shards of an input: the rows of one of N runs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from llamacli.errors import UsageError
from llamacli.values import dataclass

MOST_SHARDS = 1 << 20
_FORM = r"(\d{1,7})/(\d{1,7})"


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard number `place`, from 1, of `count`: every `count`-th row. Raises UsageError if there is no such shard."""

    place: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.place <= self.count <= MOST_SHARDS:
            raise UsageError(f"there is no shard {self}: K/N has K from 1 to N, and N up to {MOST_SHARDS:,}")

    def takes(self, number: int) -> bool:
        """Return whether row number `number`, from 0, belongs to this shard."""
        return number % self.count == self.place - 1

    def __str__(self) -> str:
        return f"{self.place}/{self.count}"


def parse_shard(text: str) -> Shard:
    """Parse K/N. Raises UsageError, and ValueError if it has another form."""
    match = re.fullmatch(_FORM, text)
    if match is None:
        raise ValueError(f"'{text}' is neither K/N, such as 2/8, nor auto")
    return Shard(int(match[1]), int(match[2]))


def shard_of_job(environ: Mapping[str, str]) -> Shard:
    """Return the shard of a job of a Slurm array. Raises UsageError outside of one."""
    names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
    texts = [*(environ.get(name, "") for name in names), environ.get("SLURM_ARRAY_TASK_MIN", "1")]
    if not all(text.isdecimal() and len(text) < 8 for text in texts):
        raise UsageError(
            f"--shard auto needs {' and '.join(names)}, which Slurm sets for the jobs of an array", hint="or write --shard K/N"
        )
    own, count, first = map(int, texts)
    step = environ.get("SLURM_ARRAY_TASK_STEP", "1")
    place, rest = divmod(own - first, int(step) if step.isdecimal() and int(step) else 1)
    if rest or not 0 <= place < count:
        raise UsageError(f"the job {own} is not one of {count} from {first} on", hint="--shard K/N says which part it answers")
    return Shard(place + 1, count)
