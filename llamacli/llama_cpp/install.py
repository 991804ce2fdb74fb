"""Installation of this package under llama-cpp-python's name, for libraries that import `llama_cpp`."""

from __future__ import annotations

import importlib
import sys

SUBMODULES = (
    "llama",
    "llama_cache",
    "llama_chat_format",
    "llama_cpp",
    "llama_grammar",
    "llama_speculative",
    "llama_tokenizer",
    "llama_types",
)


def install_as_llama_cpp() -> None:
    """Have `import llama_cpp` import this package, for the rest of the process. May be called twice.

    Raises:
        RuntimeError: if llama-cpp-python has been imported.
    """
    package = __name__.rpartition(".")[0]
    present = sys.modules.get("llama_cpp")
    if present is not None and present.__name__ != package:
        raise RuntimeError("llama_cpp was imported before: call install_as_llama_cpp first")
    sys.modules["llama_cpp"] = importlib.import_module(package)
    for name in SUBMODULES:
        sys.modules[f"llama_cpp.{name}"] = importlib.import_module(f"{package}.{name}")
