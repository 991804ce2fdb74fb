"""Passages of an index for `run`, `chat` and `embed index`."""
