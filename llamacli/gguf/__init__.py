"""GGUF files in pure Python: headers, arrays and checks, without ctypes, numpy or llama.cpp."""
