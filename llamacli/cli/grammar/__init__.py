"""`llamacli grammar`."""
