"""The command `llamacli info`."""
