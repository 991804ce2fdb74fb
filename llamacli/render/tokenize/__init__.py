"""Tokens as text and JSON."""
