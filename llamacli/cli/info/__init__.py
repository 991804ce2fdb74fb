"""`llamacli info`."""
