"""Measurement of a model's speed, memory and energy."""
