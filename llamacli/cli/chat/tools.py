"""The options of `llamacli chat` about tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from llamacli.cli.framework.parameters import option


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatToolOptions:
    """Tools that the model may call."""

    PANEL: ClassVar[str] = "Tools"

    tools: Annotated[
        Path | None,
        option("--tools", metavar="FILE", help="Tools as OpenAI's JSON list, each with the command that runs it."),
    ] = None
