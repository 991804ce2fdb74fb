"""Measurements: speed, latency, comparison, tuning and the roofline model."""
