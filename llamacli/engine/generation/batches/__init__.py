"""Batches: what each holds, and several of them in a row."""
