"""Many inputs at once: reading rows and texts, keeping their order, resuming results."""
