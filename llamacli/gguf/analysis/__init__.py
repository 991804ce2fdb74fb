"""Summaries, costs, memory needs, differences and hashes of model files."""
