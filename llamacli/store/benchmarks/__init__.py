"""Stored benchmark runs."""
