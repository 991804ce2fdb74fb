"""Guides: Markdown to blocks, and blocks to plain text for a terminal. `cli.docs` writes the same blocks as man pages."""
