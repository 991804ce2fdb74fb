"""`llamacli templates`."""
