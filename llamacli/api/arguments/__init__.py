"""The arguments of calls: checked, and as the engine takes them."""
