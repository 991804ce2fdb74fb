"""Chat formats of the Python API: names, formatters, handlers, and the older forms of requests."""
