"""Grammars as text and diagrams."""
