"""The roofline model: the speed that this machine allows for a model."""
