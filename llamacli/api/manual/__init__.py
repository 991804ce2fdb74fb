"""Evaluation by hand: one sequence in a context of its own."""
