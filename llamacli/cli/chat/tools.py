"""The options of `llamacli chat` that name tools, and the files that they name."""

from __future__ import annotations

import difflib
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.files import read_json_file
from llamacli.cli.framework.parameters import option
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.tools.servers import Servers
    from llamacli.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatToolOptions:
    """What the model may call."""

    PANEL: ClassVar[str] = "Tools"

    tools: Annotated[
        Path | None,
        option("--tools", metavar="FILE", help="Tools as OpenAI's JSON list, each with the command that runs it."),
    ] = None
    mcp: Annotated[Path | None, option("--mcp", metavar="FILE", help="Tools of MCP servers: the usual mcpServers JSON.")] = None
    allow_tool: Annotated[
        tuple[str, ...],
        option("--allow-tool", metavar="NAME", help="Run this tool without asking; may be given many times."),
    ] = ()
    max_tool_calls: Annotated[
        int, option("--max-tool-calls", metavar="N", shows=10, help="Most calls of tools for one message.")
    ] = 10


def read_toolbox(console: Console, options: ChatToolOptions) -> Toolbox | None:
    """The tools that run commands; None if no option names tools.

    Raises:
        UsageError: the file cannot be read or makes no sense.
    """
    if options.max_tool_calls < 0:
        raise UsageError("--max-tool-calls must not be negative")
    if options.tools is None and options.mcp is None:
        return None
    from llamacli.tools.reading import read_commands
    from llamacli.tools.toolbox import Toolbox

    toolbox = Toolbox(allowed=options.allow_tool)
    if options.tools is not None:
        document = read_json_file(options.tools)
        try:
            toolbox.add(read_commands(document, options.tools.absolute().parent, console.environ))
        except UsageError as error:
            raise UsageError(f"{options.tools}: {error.message}", hint=error.hint) from None
    return toolbox


def check_allowed(toolbox: Toolbox | None, options: ChatToolOptions) -> None:
    """Looks for the tools of --allow-tool, unless MCP servers are still to bring theirs.

    Raises:
        UsageError: there is none of a name.
    """
    if options.mcp is not None:
        return
    there = [offer.tool.name for offer in toolbox.offers] if toolbox is not None else []
    for name in options.allow_tool:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            others = f"there are {', '.join(there)}" if there else "--tools FILE or --mcp FILE brings some"
            raise UsageError(f"--allow-tool {name}: there is no such tool", hint=f"did you mean {near[0]}?" if near else others)


def read_mcp_servers(console: Console, options: ChatToolOptions) -> Servers | None:
    """The MCP servers, which are not started yet; None if no option names any.

    Raises:
        UsageError: the file cannot be read or makes no sense, or the package is not installed.
    """
    if options.mcp is None:
        return None
    from llamacli.tools.reading import read_servers
    from llamacli.tools.servers import Servers

    document = read_json_file(options.mcp)
    try:
        return Servers(read_servers(document, options.mcp.absolute().parent, console.environ))
    except UsageError as error:
        raise UsageError(f"{options.mcp}: {error.message}", hint=error.hint) from None


def closing_servers(servers: Servers | None) -> AbstractContextManager[object]:
    """Ends the servers behind its block."""
    return nullcontext() if servers is None else closing(servers)
