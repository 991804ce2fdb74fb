"""A server's key, which is written to the Authorization header and nowhere else."""

from __future__ import annotations

from llamacli.errors import UsageError


class Secret:
    """A key. Its representation never shows it. `source` says where it is from, for messages.

    Raises:
        UsageError: if it is empty, or has a character that a header cannot carry.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str, source: str) -> None:
        self._value = value.strip()
        if not self._value:
            raise UsageError(f"the key of {source} is empty")
        if not (self._value.isascii() and self._value.isprintable() and " " not in self._value):
            raise UsageError(f"the key of {source} has characters that a key cannot have")

    def header(self) -> str:
        """Return the value of the Authorization header."""
        return f"Bearer {self._value}"

    def hidden_in(self, text: str) -> str:
        """Return a text in which the key is replaced: a server may repeat it in a message."""
        return text.replace(self._value, "***")

    def __repr__(self) -> str:
        return "Secret(***)"
