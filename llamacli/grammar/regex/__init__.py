"""Regular expressions as grammars."""

from llamacli.grammar.regex.reader import RegexReader, from_regex

__all__ = ["RegexReader", "from_regex"]
