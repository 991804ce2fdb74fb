"""The binding: the only package that imports ctypes. C names are untouched here."""
