"""Caches of evaluated prompts, as llama-cpp-python's module of this name has them."""

from llamacli.api import BaseLlamaCache, LlamaCache, LlamaDiskCache, LlamaRAMCache

__all__ = ["BaseLlamaCache", "LlamaCache", "LlamaDiskCache", "LlamaRAMCache"]
