"""Reader for the headers of GGUF files."""
