"""`llamacli do`."""
