"""Paths, databases and atomic files."""
