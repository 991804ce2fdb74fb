"""`llamacli config`."""
