"""The tools that a model may call, and what runs them: commands and MCP servers. It never prints, and never asks."""
