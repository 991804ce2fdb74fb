"""Comparison of stored benchmark runs."""
