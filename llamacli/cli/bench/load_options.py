"""The options of load tests: `bench --url`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from llamacli.bench.load.params import Objective
from llamacli.cli.bench import ranges as lists
from llamacli.cli.framework.parameters import option
from llamacli.cli.framework.parsers import parse_duration

_OBJECTIVE = re.compile(r"(ttft|itl)=(.+)")


def read_objective(text: str | None) -> Objective:
    """Read `ttft=500ms,itl=50ms`, either or both. Raises ValueError."""
    found: dict[str, float] = {}
    for part in text.split(",") if text else ():
        match = _OBJECTIVE.fullmatch(part.strip())
        if match is None or match[1] in found:
            raise ValueError(f"'{text}' is not ttft=500ms,itl=50ms, or one of both")
        found[match[1]] = parse_duration(match[2])
    return Objective(**found)


def parse_objective(text: str) -> str:
    """Check an objective. Raises ValueError."""
    read_objective(text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """A load test of the server of --url."""

    PANEL: ClassVar[str] = "Load test, with --url"

    concurrency: Annotated[
        tuple[tuple[int, ...], ...],
        option(
            "--concurrency", metavar="LIST", parser=lists.parse_ranges, shows=1, environment=False,
            help="Number of requests at once: a new one follows each that has ended.",
        ),
    ] = ()  # fmt: skip
    rate: Annotated[
        float | None,
        option(
            "--rate", metavar="R", environment=False,
            help="Send R requests a second at random times (Poisson), however many are under way.",
        ),
    ] = None  # fmt: skip
    requests: Annotated[
        int | None,
        option(
            "--requests", metavar="N", shows="10 for each at once, at least 20", environment=False,
            help="Number of requests of a test.",
        ),
    ] = None  # fmt: skip
    seconds: Annotated[
        float | None, option("--seconds", metavar="S", environment=False, help="Duration of a test, in seconds.")
    ] = None
    prompts: Annotated[
        Path | None,
        option(
            "--prompts", metavar="FILE", environment=False,
            help="Ask the prompts of a file, of rows as for `run --input` or of ShareGPT's shape, in place of made ones.",
        ),
    ] = None  # fmt: skip
    warm_prefix: Annotated[
        bool,
        option("--warm-prefix", environment=False, help="Nine tenths of each made prompt are the same, as a system prompt is."),
    ] = False
    slo: Annotated[
        str | None,
        option(
            "--slo", metavar="ttft=T,itl=T", parser=parse_objective, environment=False,
            help="Count the requests that are answered this fast: the goodput.",
        ),
    ] = None  # fmt: skip

    @property
    def any(self) -> bool:
        """True if one of them is given."""
        return self != LoadOptions()
