"""Answers of models: read from their events, parsed, and judged."""
