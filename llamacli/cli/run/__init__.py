"""`llamacli run`."""
