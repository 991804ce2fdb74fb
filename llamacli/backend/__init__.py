"""Backends: computing in this process, in a child process, or at an address."""
