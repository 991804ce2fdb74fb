"""Saved states of the Python API, and caches of them."""
