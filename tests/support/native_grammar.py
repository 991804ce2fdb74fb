"""llama.cpp's own matcher for GBNF, stepped by bytes, to compare ours with."""

from types import TracebackType
from typing import Self

from llamacli.binding import log
from llamacli.binding.library import library
from llamacli.errors import GrammarError


class NativeGrammar:
    """A grammar in llama.cpp, without a vocabulary. Only for grammars that llama.cpp survives.

    Raises (when built):
        GrammarError: if llama.cpp refuses the grammar.
    """

    def __init__(self, grammar: str, root: str = "root") -> None:
        self._library = library()
        self._source = grammar.encode(), root.encode()
        self._handle = None
        self.reset()

    def reset(self) -> None:
        """Start again at the beginning."""
        self.close()
        with log.complaints():
            self._handle = self._library.llamacli_constraint_create(None, *self._source)
        if not self._handle:
            raise GrammarError("llama.cpp does not accept this grammar")

    def accept(self, data: bytes) -> int:
        """Feed bytes until one is refused, and return the number accepted."""
        for i in range(len(data)):
            if not self._library.llamacli_constraint_accept_text(self._handle, data[i : i + 1], 1):
                return i
        return len(data)

    def matches(self, text: str) -> bool:
        """Start again, and return whether a whole text is a match."""
        self.reset()
        data = text.encode()
        return bool(self._library.llamacli_constraint_accept_text(self._handle, data, len(data))) and self.is_complete

    @property
    def is_complete(self) -> bool:
        """True if the bytes so far, none of which was refused, are a match."""
        return bool(self._library.llamacli_constraint_state(self._handle) & 2)

    def close(self) -> None:
        """Free it."""
        handle, self._handle = self._handle, None
        if handle:
            self._library.llamacli_constraint_free(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
