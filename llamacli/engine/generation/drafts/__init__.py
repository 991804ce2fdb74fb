"""Drafts: guesses of the next tokens, which one evaluation checks together."""
