"""The version of this package. A leaf: the root package imports the Python API lazily, and nothing below may import it."""

VERSION = "0.2.0"
