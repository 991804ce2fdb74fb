"""The calls of `Llama` about tokens and its vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llamacli.api.arguments.inputs import token_ids
from llamacli.api.calls.prompts import Prompts

if TYPE_CHECKING:
    from llamacli.api.handles import LlamaModel
    from llamacli.api.tokenizer import LlamaTokenizer


class Tokens(Prompts):
    """The calls about tokens. A base of `Llama`, which loads the model."""

    def tokenize(self, text: bytes | str, add_bos: bool = True, special: bool = False) -> list[int]:
        """Return the token ids of a text. `special` recognizes control tokens in it.

        >>> llm.detokenize(llm.tokenize(b"Hello, world", add_bos=False))
        b'Hello, world'
        """
        if self._tokenizer is not None:
            return self._tokenizer.tokenize(text.encode() if isinstance(text, str) else text, add_bos, special)
        return self.engine.model.vocabulary.tokenize(text, special=special, add_special=add_bos)

    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        """Return the bytes of tokens that follow `prev_tokens`. Raises UsageError for ids outside the vocabulary."""
        ids = token_ids(tokens, "tokens")
        if self._tokenizer is not None:
            return self._tokenizer.detokenize(ids, prev_tokens=prev_tokens, special=special)
        return self.engine.model.vocabulary.detokenize(ids, special=special)

    def token_to_piece(self, token: int, special: bool = False) -> bytes:
        """Return the bytes of one token."""
        return self.model.token_to_piece(token, special)

    def tokenizer(self) -> LlamaTokenizer:
        """Return the model's tokenizer."""
        from llamacli.api.tokenizer import LlamaTokenizer

        return LlamaTokenizer(self)

    def token_bos(self) -> int:
        """Return the BOS token, or -1."""
        return self.engine.model.vocabulary.bos

    def token_eos(self) -> int:
        """Return the EOS token, or -1."""
        return self.engine.model.vocabulary.eos

    def token_nl(self) -> int:
        """Return the newline token, or -1."""
        return self.engine.model.vocabulary.newline

    @property
    def model(self) -> LlamaModel:
        """The model for C functions (see `llamacli.llama_cpp`), until `close()`.

        >>> from llamacli import llama_cpp
        >>> llama_cpp.llama_n_vocab(llm.model) == llm.n_vocab()
        True
        """
        from llamacli.api.handles import LlamaModel

        return LlamaModel(lambda: self.engine.model)

    def n_vocab(self) -> int:
        """Return the number of tokens in the vocabulary."""
        return self.engine.model.vocabulary.size
