"""Spellings of options: ours, other programs', the engine's and the environment's."""
