"""Grammars that constrain an answer, and the state reached in one.

Our own parser checks every grammar from outside first: llama.cpp's parser prints its errors to stderr, and crashes on some.
"""

from __future__ import annotations

from typing import Any

from llamacli.binding import log
from llamacli.binding.arrays import char_buffer, token_array
from llamacli.binding.library import library
from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.runtime.model import Model
from llamacli.errors import GrammarError

_CAN_CONTINUE, _MAY_END = 1, 2


class Matcher:
    """Follows one answer through a grammar. Owns a C object; `close()` is idempotent.

    Raises (when built):
        GrammarSyntaxError: if the grammar does not parse, or is deeper or larger than llama.cpp survives.
        GrammarError: if llama.cpp rejects the grammar or its prefix.
    """

    def __init__(self, model: Model, constraint: Constraint) -> None:
        if not constraint.trusted:
            from llamacli.grammar import gbnf  # only answers under a grammar pay for it

            gbnf.check_safe(constraint.grammar, constraint.root)
        self._library = library()
        with log.complaints():
            self._handle: Any = self._library.llamacli_constraint_create(
                model.vocabulary.handle, constraint.grammar.encode(), constraint.root.encode()
            )
        if not self._handle:
            raise GrammarError("llama.cpp rejects this grammar")
        if constraint.prefix and not self.accept_text(constraint.prefix.encode()):
            self.close()
            raise GrammarError("the grammar of the answer does not match the end of the prompt")

    @property
    def handle(self) -> Any:
        """The C object, for sampling; each sampled token advances it."""
        return self._handle

    def accept(self, token: int) -> bool:
        """Advance over a token that was not sampled. Return False, without a change, if the grammar does not allow it."""
        return bool(self._library.llamacli_constraint_accept(self._handle, token_array([token]), 1) == 1)

    def accept_text(self, text: bytes) -> bool:
        """Advance over a text. Return False if the grammar does not allow it; then nothing can follow."""
        return bool(self._library.llamacli_constraint_accept_text(self._handle, text, len(text)))

    def certain_text(self, most: int) -> str:
        """Return the text that must follow, up to about `most` bytes of it; empty where the grammar leaves a choice."""
        buffer = char_buffer(most)
        size = self._library.llamacli_constraint_certain(self._handle, buffer, most)
        return bytes(buffer[:size]).decode("utf-8", "ignore")  # the last character may be cut

    @property
    def may_end(self) -> bool:
        """True if the text so far is complete."""
        return bool(self._state() & _MAY_END)

    @property
    def must_end(self) -> bool:
        """True if the text so far is complete and nothing can follow."""
        return self._state() == _MAY_END

    def _state(self) -> int:
        return int(self._library.llamacli_constraint_state(self._handle))

    def close(self) -> None:
        """Free the C object."""
        handle, self._handle = self._handle, None
        if handle:
            self._library.llamacli_constraint_free(handle)
