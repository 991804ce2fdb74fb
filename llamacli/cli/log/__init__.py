"""`llamacli log`: the log of `run`."""
