"""The Python API: the engine with the calls that people know from llama-cpp-python. `from llamacli import Llama`."""

from llamacli.api.aio import AsyncLlama
from llamacli.api.grammar import LlamaGrammar
from llamacli.api.llama import Llama
from llamacli.api.manual import SavedState

__all__ = ["AsyncLlama", "Llama", "LlamaGrammar", "SavedState"]
