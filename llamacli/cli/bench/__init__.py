"""`llamacli bench`."""
