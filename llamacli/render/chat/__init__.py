"""Answers and conversations as text."""
