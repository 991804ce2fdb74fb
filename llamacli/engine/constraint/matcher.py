"""Grammars that hold an answer to them, and the place that was reached in one.

Every grammar from outside is parsed by our own code first: llama.cpp's parser writes its errors to stderr and crashes on some.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llamacli.binding import log
from llamacli.binding.arrays import token_array
from llamacli.binding.library import library
from llamacli.engine.chat.template import Trigger
from llamacli.engine.runtime.model import Model
from llamacli.errors import GrammarError

_MAY_GO_ON, _MAY_END = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A GBNF grammar for an answer.

    `prefix` is text of the prompt with which the grammar begins. A `lazy` one begins with the first of its `triggers`, and with
    none never. `trusted` ones are llama.cpp's own, or were checked, and are not parsed again.
    """

    grammar: str
    root: str = "root"
    prefix: str = ""
    lazy: bool = False
    triggers: tuple[Trigger, ...] = ()
    trusted: bool = False


class Matcher:
    """Follows one answer through a grammar. Owns a C object; `close()` may be called twice.

    Raises (when built):
        GrammarSyntaxError: the grammar does not parse, or is deeper or larger than llama.cpp survives.
        GrammarError: llama.cpp does not take it, or not its prefix.
    """

    def __init__(self, model: Model, constraint: Constraint) -> None:
        if not constraint.trusted:
            from llamacli import grammar as gbnf  # only answers under a grammar pay for it

            gbnf.check_safe(constraint.grammar, constraint.root)
        self._library = library()
        with log.complaints():
            self._handle: Any = self._library.llamacli_constraint_create(
                model.vocabulary.handle, constraint.grammar.encode(), constraint.root.encode()
            )
        if not self._handle:
            raise GrammarError("llama.cpp does not take this grammar")
        if constraint.prefix and not self.accept_text(constraint.prefix.encode()):
            self.close()
            raise GrammarError("the grammar of the answer does not begin as the chat template does")

    @property
    def handle(self) -> Any:
        """The C object, for sampling; it moves on with each sampled token."""
        return self._handle

    def accept(self, token: int) -> bool:
        """Takes a token that was not sampled. False, and nothing changes, when the grammar does not allow it."""
        return bool(self._library.llamacli_constraint_accept(self._handle, token_array([token]), 1) == 1)

    def accept_text(self, text: bytes) -> bool:
        """Takes a text. False when the grammar does not allow it: nothing can follow then."""
        return bool(self._library.llamacli_constraint_accept_text(self._handle, text, len(text)))

    @property
    def may_end(self) -> bool:
        """Whether the text so far is complete."""
        return bool(self._state() & _MAY_END)

    @property
    def must_end(self) -> bool:
        """Whether nothing may follow."""
        return self._state() == _MAY_END

    def _state(self) -> int:
        return int(self._library.llamacli_constraint_state(self._handle))

    def close(self) -> None:
        """Frees it."""
        handle, self._handle = self._handle, None
        if handle:
            self._library.llamacli_constraint_free(handle)
