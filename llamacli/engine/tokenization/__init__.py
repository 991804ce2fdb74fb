"""Tokenization of texts of any size, and the byte spans and differences of tokens."""
