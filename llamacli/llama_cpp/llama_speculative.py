"""Draft models, as llama-cpp-python's module of this name has them."""

from llamacli.api import LlamaDraftModel, LlamaPromptLookupDecoding

__all__ = ["LlamaDraftModel", "LlamaPromptLookupDecoding"]
