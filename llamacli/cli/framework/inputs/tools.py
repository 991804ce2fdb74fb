"""The tools that run when a model calls them, from the files that the options name."""

from __future__ import annotations

import difflib
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.files import read_json_file
from llamacli.cli.framework.options.tools import ToolCallOptions
from llamacli.errors import SchemaError, UsageError
from llamacli.tools.setup import ToolSetup

if TYPE_CHECKING:
    from llamacli.engine.chat.message import Tool
    from llamacli.tools.servers import Servers
    from llamacli.tools.toolbox import Toolbox


def read_tools(console: Console, file: Path | None, options: ToolCallOptions, *, expected: bool) -> ToolSetup:
    """Return the tools of `file` and of the MCP servers, which are not started yet.

    `expected`: the tools of --allow-tool must exist.

    Raises:
        UsageError: if a file cannot be read or is invalid, a tool is unknown, or the mcp package is not installed.
    """
    toolbox, servers = read_toolbox(console, file, options), read_mcp_servers(console, options)
    if expected:
        check_allowed(toolbox, options)
    return ToolSetup(
        toolbox=toolbox,
        servers=servers,
        expected=options.allow_tool if expected else (),
        max_calls=options.max_tool_calls,
    )


def read_toolbox(console: Console, file: Path | None, options: ToolCallOptions) -> Toolbox | None:
    """Return the tools that run commands; None if no option names tools.

    Raises:
        UsageError: if the file cannot be read or is invalid.
    """
    if options.max_tool_calls < 0:
        raise UsageError("--max-tool-calls must not be negative")
    if file is None and options.mcp is None:
        return None
    from llamacli.tools.definitions import read_commands
    from llamacli.tools.toolbox import Toolbox

    toolbox = Toolbox(allowed=options.allow_tool)
    if file is not None:
        document = read_json_file(file)
        try:
            offers, problems = read_commands(document, file.absolute().parent, console.environ, check=check_parameters)
        except UsageError as error:
            raise UsageError(f"{file}: {error.message}", hint=error.hint) from None
        for problem in problems:
            console.warn(f"{file}: {problem}")
        toolbox.add(offers)
    return toolbox


def check_parameters(tool: Tool) -> None:
    """Raise UsageError if calls of the tool cannot be constrained by the schema of its parameters."""
    from llamacli.engine.chat.tools.check import check_tools

    try:
        check_tools((tool,))
    except SchemaError as error:  # the caller's message names the tool already
        raise UsageError(error.message.partition(f"{tool.name}: ")[2] or error.message, hint=error.hint) from None


def check_allowed(toolbox: Toolbox | None, options: ToolCallOptions) -> None:
    """Check that the tools of --allow-tool exist, unless MCP servers may still add them.

    Raises:
        UsageError: if a tool is unknown.
    """
    if options.mcp is not None:
        return
    names = [offer.tool.name for offer in toolbox.offers] if toolbox is not None else []
    for name in options.allow_tool:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            others = f"known tools: {', '.join(names)}" if names else "--tools FILE or --mcp FILE adds tools"
            raise UsageError(f"--allow-tool: unknown tool {name}", hint=f"did you mean {near[0]}?" if near else others)


def read_mcp_servers(console: Console, options: ToolCallOptions) -> Servers | None:
    """Return the MCP servers; None if no option names any.

    Raises:
        UsageError: if the file cannot be read or is invalid, or the mcp package is not installed.
    """
    if options.mcp is None:
        return None
    from llamacli.tools.definitions import read_servers
    from llamacli.tools.servers import Servers

    document = read_json_file(options.mcp)
    try:
        servers = read_servers(document, options.mcp.absolute().parent, console.environ)
        return Servers(servers, check=check_parameters)
    except UsageError as error:
        raise UsageError(f"{options.mcp}: {error.message}", hint=error.hint) from None


def closing_servers(servers: Servers | None) -> AbstractContextManager[object]:
    """Stop the servers at the end of the block."""
    return nullcontext() if servers is None else closing(servers)
