"""The cluster whose workers compute in place of this machine."""

from __future__ import annotations

import re
from typing import Annotated

from llamacli.cli.framework.parameters import option


def parse_cluster(text: str) -> str:
    """Check the address of a Dask scheduler, or `local:N`. Raises ValueError."""
    if not re.fullmatch(r"local:[1-9]\d{0,3}|(?!local:)(?:(?:tcp|tls|ucx|ws|wss)://)?[^\s/:]+:\d{1,5}", text):
        raise ValueError(f"'{text}' is neither the address of a Dask scheduler, such as host:8786, nor local:N")
    return text


DaskOption = Annotated[
    str | None,
    option(
        "--dask", metavar="ADDRESS|local:N", parser=parse_cluster, environment=False,
        help="Share the rows of --input among the workers of a Dask cluster, each with an engine; local:N starts N processes.",
    ),
]  # fmt: skip
