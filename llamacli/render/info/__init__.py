"""Model files as text and JSON."""
