"""llamacli: run local language models from the terminal. Importing this package imports nothing heavy."""

__version__ = "0.1.0"
