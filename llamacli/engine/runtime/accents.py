"""Accent stripping for BERT models, as their authors do it.

llama.cpp decomposes a character to its first part only, which loses the vowels of Korean, and drops every mark (Unicode's M),
which loses the vowels of Hindi and its relatives. BERT's own tokenizer decomposes fully (NFD) and drops marks that take no room
(Mn): `BertNormalizer` in https://github.com/huggingface/tokenizers. So llama.cpp's normalization of accents is switched off,
and they are stripped here.
"""

from __future__ import annotations

import unicodedata

from llamacli.engine.params import Override
from llamacli.gguf.header import Header

LOWERCASE_KEY = "tokenizer.ggml.normalizer.lowercase"
STRIP_KEY = "tokenizer.ggml.normalizer.strip_accents"
ACCENTS_KEPT: dict[str, Override] = {STRIP_KEY: False}
"""The metadata override that switches llama.cpp's normalization of accents off."""


def strips_accents(header: Header) -> bool:
    """Return whether the model has a WordPiece vocabulary for text without accents. Both switches default to on."""
    if header.text("tokenizer.ggml.model") != "bert":
        return False
    stripped = header.flag(STRIP_KEY)
    return stripped if stripped is not None else header.flag(LOWERCASE_KEY) is not False


def without_accents(data: bytes) -> bytes:
    """Return UTF-8 text without accents, as such a model was trained on."""
    if data.isascii():
        return data
    text = unicodedata.normalize("NFD", data.decode("utf-8", "replace"))
    return "".join(character for character in text if unicodedata.category(character) != "Mn").encode("utf-8")
