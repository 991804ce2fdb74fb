"""`llamacli chat`."""
