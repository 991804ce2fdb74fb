"""Grammars as objects, made and checked once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamacli.engine.constraint.matcher import Constraint
from llamacli.engine.constraint.schema import schema_to_grammar
from llamacli.errors import SchemaError, UsageError


@dataclass(frozen=True, slots=True)
class LlamaGrammar:
    """A GBNF grammar that holds an answer to it. `schema` is the JSON schema that it was made from, or None.

    >>> LlamaGrammar.from_string('root ::= "yes" | "no"').text
    'root ::= "yes" | "no"'
    """

    text: str
    schema: Any = None

    @classmethod
    def from_string(cls, grammar: str, verbose: bool = False) -> LlamaGrammar:
        """Checks the grammar's text. `verbose` is accepted and does nothing: errors say what is wrong and where.

        Raises:
            GrammarSyntaxError: it does not parse, with line and column.
        """
        from llamacli.grammar import check_safe

        if not isinstance(grammar, str):
            raise UsageError(f"a grammar is a text or a LlamaGrammar, not a {type(grammar).__name__}")
        check_safe(grammar)
        return cls(grammar)

    @classmethod
    def from_file(cls, file: str | Path, verbose: bool = False) -> LlamaGrammar:
        """Reads a grammar from a file.

        Raises:
            OSError: it cannot be read.
            GrammarSyntaxError: it does not parse.
        """
        return cls.from_string(Path(file).read_text(encoding="utf-8"), verbose)

    @classmethod
    def from_json_schema(cls, json_schema: str | dict[str, Any], verbose: bool = False) -> LlamaGrammar:
        """Turns a JSON schema, as text or object, into a grammar.

        >>> LlamaGrammar.from_json_schema({"type": "boolean"}).text.splitlines()[0]
        'root ::= ("true" | "false")'

        Raises:
            SchemaError: it is no schema, or one that cannot be a grammar.
        """
        schema = _parsed(json_schema) if isinstance(json_schema, str) else json_schema
        if not isinstance(schema, dict | bool):
            raise SchemaError("this is no JSON schema, which is an object", place=0)
        return cls(schema_to_grammar(schema), schema)

    def constraint(self) -> Constraint:
        """What the engine takes."""
        return Constraint(grammar=self.text, trusted=self.schema is not None)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SchemaError(f"this is no JSON: {error.msg}", place=error.pos) from error
    except RecursionError:
        raise SchemaError("the schema is nested too deep", place=0) from None
