"""Vocabularies and tokenizers as the options of `tokenize` select them."""

from __future__ import annotations

from pathlib import Path

from llamacli.cli.tokenize.options import TextOptions
from llamacli.engine.runtime.model import Model
from llamacli.engine.tokenization.tokenizer import Tokenizer

PROGRESS_DELAY_SECONDS = 0.5
"""Time before a progress bar is shown."""


def load(path: Path) -> Model:
    """Load the vocabulary of a model file."""
    return Model(path, vocab_only=True)


def tokenizer_for(model: Model, source: TextOptions) -> Tokenizer:
    """Return the model's tokenizer with the options of texts."""
    return Tokenizer(model, special=source.special, wrap=source.bos, replace=source.errors == "replace")
