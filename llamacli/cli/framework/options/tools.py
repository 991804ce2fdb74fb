"""How the tools that a model calls are run."""

from pathlib import Path
from typing import Annotated, ClassVar

from llamacli.cli.framework.parameters import option
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallOptions:
    """How the tools that a model calls are run."""

    PANEL: ClassVar[str] = "Tools"

    mcp: Annotated[Path | None, option("--mcp", metavar="FILE", help="MCP servers: the usual mcpServers JSON.")] = None
    allow_tool: Annotated[
        tuple[str, ...],
        option("--allow-tool", metavar="NAME", help="Tool to run without asking; can be repeated."),
    ] = ()
    max_tool_calls: Annotated[
        int, option("--max-tool-calls", metavar="N", shows=10, help="Maximum number of tool calls for one message.")
    ] = 10
