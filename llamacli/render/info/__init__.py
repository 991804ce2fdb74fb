"""The views of `info` as text and JSON."""
