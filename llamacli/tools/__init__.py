"""The tools that a model may call, run as commands or by MCP servers. This package never prints and never prompts."""
