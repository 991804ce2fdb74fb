"""`llamacli serve`."""
