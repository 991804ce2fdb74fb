"""GGUF files in pure Python: headers, arrays, soundness. Imports neither ctypes nor numpy nor llama.cpp."""

from llamacli.gguf.header import Entry, Header, Lazy, TensorInfo, read_header
from llamacli.gguf.loading import check_file, check_loadable
from llamacli.gguf.model import ModelFiles, read_files

__all__ = [
    "Entry", "Header", "Lazy", "ModelFiles", "TensorInfo", "check_file", "check_loadable", "read_files", "read_header",
]  # fmt: skip
