"""The command group `llamacli grammar`."""
