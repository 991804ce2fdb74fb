"""Evaluated prompts on disk."""

BLOCK = 128
"""Tokens of a block. Shorter prompts are not kept."""
