"""Memory that a model needs with given parameters, and the largest context that fits."""
