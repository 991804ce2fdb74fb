"""`llamacli embed`."""
