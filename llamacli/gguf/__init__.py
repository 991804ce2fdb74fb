"""GGUF files in pure Python: headers, arrays and checks, without ctypes, numpy or llama.cpp."""

from llamacli.gguf.check.loadable import check_file, check_loadable
from llamacli.gguf.header import Entry, Header, Lazy, TensorInfo
from llamacli.gguf.model import ModelFiles, read_files
from llamacli.gguf.parser.header import read_header

__all__ = [
    "Entry", "Header", "Lazy", "ModelFiles", "TensorInfo", "check_file", "check_loadable", "read_files", "read_header",
]  # fmt: skip
