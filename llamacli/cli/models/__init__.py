"""`llamacli models`."""
