"""Tokenizers, as llama-cpp-python's module of this name has them."""

from llamacli.api import BaseLlamaTokenizer, LlamaHFTokenizer, LlamaTokenizer

__all__ = ["BaseLlamaTokenizer", "LlamaHFTokenizer", "LlamaTokenizer"]
