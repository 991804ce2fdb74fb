"""An MCP server for tests: `mcp_program.py stdio [odd]` (with an unusable tool), or `mcp_program.py http PORT`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("testing", log_level="ERROR")


@server.tool()
def add(a: int, b: int) -> str:
    """Adds two numbers."""
    return f"{a} + {b} = {a + b}"


@server.tool()
def fail() -> str:
    """Always fails."""
    raise ToolError("it never works")


@server.tool()
def much() -> str:
    """Says much."""
    return "spam " * 100_000


@server.tool()
def look(variable: str) -> str:
    """The value of an environment variable."""
    return os.environ.get(variable, "not set")


@server.tool()
def wait(path: str) -> str:
    """Writes a file and waits."""
    Path(path).write_text("begun")
    time.sleep(3600)
    return "done"


@server.tool()
def leave() -> str:
    """Ends the server."""
    os._exit(3)


@server.tool()
def picture() -> list:
    """A text and a picture."""
    from mcp_types import ImageContent, TextContent

    return [TextContent(type="text", text="a cat"), ImageContent(type="image", data="AAAA", mime_type="image/png")]


if __name__ == "__main__":
    if sys.argv[1] == "http":
        server.run("streamable-http", port=int(sys.argv[2]))
    else:
        print("this goes to standard error", file=sys.stderr)
        if "odd" in sys.argv:
            server.add_tool(look, name="odd")
            server._tool_manager.get_tool("odd").parameters = {
                "type": "object", "properties": {"a": {"$ref": "https://example.com/schema.json"}},
            }  # fmt: skip
        server.run("stdio")
