"""The roofline model: how fast this machine could run a model."""
