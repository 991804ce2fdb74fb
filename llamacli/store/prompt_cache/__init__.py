"""Evaluated prompts on disk."""
