"""Analyses of grammars: safety, lint, explanations and samples."""
