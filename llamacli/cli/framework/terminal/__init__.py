"""The terminal and the process's streams and signals."""
