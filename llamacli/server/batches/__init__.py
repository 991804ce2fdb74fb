"""Batches of requests, which run beside what clients wait for, and go on after a restart."""
