"""Benchmarks as text, tables, charts and files."""
