"""Accents in text for BERT models, taken away as their authors do it.

llama.cpp decomposes a character to its first part only, which loses the vowels of Korean, and drops every mark (Unicode's M),
which loses the vowels of Hindi and its relatives. BERT's own tokenizer decomposes fully (NFD) and drops marks that take no room
(Mn): `BertNormalizer` in https://github.com/huggingface/tokenizers. So llama.cpp is told to leave accents alone, and they are
taken away here.
"""

from __future__ import annotations

import unicodedata

from llamacli.gguf import Header

LOWERCASE_KEY = "tokenizer.ggml.normalizer.lowercase"
STRIP_KEY = "tokenizer.ggml.normalizer.strip_accents"
ACCENTS_KEPT = {STRIP_KEY: False}
"""The change of the model's metadata that makes llama.cpp leave accents alone."""


def strips_accents(header: Header) -> bool:
    """Whether this is a model with a WordPiece vocabulary for text without accents. Both switches are on unless they say no."""
    if header.text("tokenizer.ggml.model") != "bert":
        return False
    stripped = header.flag(STRIP_KEY)
    return stripped if stripped is not None else header.flag(LOWERCASE_KEY) is not False


def without_accents(data: bytes) -> bytes:
    """UTF-8 text as such a model was trained on it."""
    if data.isascii():
        return data
    text = unicodedata.normalize("NFD", data.decode("utf-8", "replace"))
    return "".join(character for character in text if unicodedata.category(character) != "Mn").encode("utf-8")
