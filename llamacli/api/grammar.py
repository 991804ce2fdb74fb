"""Grammars as objects, parsed and checked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamacli.errors import InvalidJSONError, SchemaError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.constraint.guidance import Constraint

LLAMA_GRAMMAR_DEFAULT_ROOT = "root"

JSON_GBNF = r"""
root   ::= object
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (pair ("," ws pair)*)? "}" ws
pair   ::= string ":" ws value
array  ::= "[" ws (value ws ("," ws value ws)*)? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]+)? ([eE] [-+]? [0-9]{1,3})? ws
ws     ::= | " " | "\n" [ \t]{0,20}
"""
"""A JSON object."""

JSON_ARR_GBNF = JSON_GBNF.replace("root   ::= object", "root   ::= array")
"""A JSON array."""

LIST_GBNF = r"""
root ::= ("- " [^\r\n]+ "\n")+
"""
"""A list of lines with dashes."""

ARITHMETIC_GBNF = r"""
root ::= (expression "=" space term "\n")+
expression ::= term ([-+*/] space term)*
term ::= name | number | "(" space expression ")" space
name ::= [a-z] [a-z0-9_]* space
number ::= [0-9]+ space
space ::= [ \t\n]*
"""
"""Equations."""

CHESS_GBNF = r"""
root  ::= turn+
turn  ::= [1-9] [0-9]? ". " move (" " move)? "\n"
move  ::= (piece | pawn | "O-O" "-O"?) [+#]?
piece ::= [KQRBN] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn  ::= ([a-h] "x")? [a-h] [1-8] ("=" [QRBN])?
"""
"""The moves of a game of chess, a line for each turn."""

JAPANESE_GBNF = r"""
root        ::= letter+ ([ \t\n] letter+)*
letter      ::= hiragana | katakana | kanji | punctuation
hiragana    ::= [ぁ-ゟ]
katakana    ::= [ァ-ヿ]
kanji       ::= [一-龯]
punctuation ::= [、-〾！？]
"""
"""Japanese text."""

C_GBNF = r"""
root       ::= function+
function   ::= typed "(" (typed (", " typed)*)? ")" block
typed      ::= ("int" | "float" | "char" | "void") " " "*"? name
block      ::= " {" line statement* indent "}" line
statement  ::= indent (declare | assign | call ";" line | if | while | return)
declare    ::= typed (" = " value)? ";" line
assign     ::= name " = " value ";" line
if         ::= "if (" condition ")" block (indent "else" block)?
while      ::= "while (" condition ")" block
return     ::= "return" (" " value)? ";" line
condition  ::= value " " ("==" | "!=" | "<" | "<=" | ">" | ">=") " " value
value      ::= term (" " [-+*/%] " " term)*
term       ::= call | name | number | text | "(" value ")"
call       ::= name "(" (value (", " value)*)? ")"
name       ::= [a-zA-Z_] [a-zA-Z_0-9]*
number     ::= "-"? [0-9]+ ("." [0-9]+)?
text       ::= "\"" ([^"\\\n] | "\\" ["\\nt0])* "\""
indent     ::= [ \t]*
line       ::= "\n"
"""
"""Functions in a small part of C."""


def json_schema_to_gbnf(schema: str | dict[str, Any]) -> str:
    """Return the grammar of a JSON schema as text.

    Raises:
        SchemaError: if it is not a schema, or has no grammar.
    """
    return LlamaGrammar.from_json_schema(schema).text


@dataclass(frozen=True, slots=True)
class LlamaGrammar:
    """A GBNF grammar that constrains an answer. `schema` is the JSON schema that it was converted from, or None.

    >>> LlamaGrammar.from_string('root ::= "yes" | "no"').text
    'root ::= "yes" | "no"'
    """

    text: str
    schema: Any = None

    @classmethod
    def from_string(cls, grammar: str, verbose: bool = False) -> LlamaGrammar:
        """Check a grammar. `verbose` is accepted for llama-cpp-python's sake and does nothing: errors are located.

        Raises:
            GrammarSyntaxError: if it does not parse, with line and column.
        """
        from llamacli.grammar.gbnf import check_safe

        if not isinstance(grammar, str):
            raise UsageError(f"a grammar must be a string or a LlamaGrammar, not {type(grammar).__name__}")
        check_safe(grammar)
        return cls(grammar)

    @classmethod
    def from_file(cls, file: str | Path, verbose: bool = False) -> LlamaGrammar:
        """Read a grammar from a file.

        Raises:
            OSError: if the file cannot be read.
            GrammarSyntaxError: if the grammar does not parse.
        """
        return cls.from_string(Path(file).read_text(encoding="utf-8"), verbose)

    @classmethod
    def from_json_schema(cls, json_schema: str | dict[str, Any], verbose: bool = False) -> LlamaGrammar:
        """Convert a JSON schema, as text or as an object, into a grammar.

        >>> LlamaGrammar.from_json_schema({"type": "boolean"}).text.splitlines()[0]
        'root ::= ("true" | "false")'

        Raises:
            SchemaError: if it is not a schema, or has no grammar.
        """
        from llamacli.engine.constraint.schema import schema_to_grammar

        schema = _parsed(json_schema) if isinstance(json_schema, str) else json_schema
        if not isinstance(schema, dict | bool):
            raise SchemaError("a JSON schema must be an object or a boolean", place=0)
        return cls(schema_to_grammar(schema), schema)

    def constraint(self) -> Constraint:
        """Return it as the engine takes it."""
        from llamacli.engine.constraint.guidance import Constraint

        return Constraint(grammar=self.text, trusted=self.schema is not None)


def _parsed(text: str) -> Any:
    from llamacli.json_text import parse_json

    try:
        return parse_json(text)
    except InvalidJSONError as error:
        raise SchemaError(error.message, place=error.offset) from error
