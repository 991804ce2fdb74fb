"""`llamacli tokenize`."""
