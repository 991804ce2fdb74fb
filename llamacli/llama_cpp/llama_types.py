"""The types of requests and documents, as llama-cpp-python's module of this name has them."""

from llamacli.openai.types import *  # noqa: F403
from llamacli.openai.types import __all__ as __all__  # noqa: PLC0414 - the same names
