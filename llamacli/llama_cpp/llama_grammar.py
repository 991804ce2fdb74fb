"""Grammars, as llama-cpp-python's module of this name has them."""

from llamacli.api.grammar import (
    ARITHMETIC_GBNF,
    C_GBNF,
    CHESS_GBNF,
    JAPANESE_GBNF,
    JSON_ARR_GBNF,
    JSON_GBNF,
    LIST_GBNF,
    LLAMA_GRAMMAR_DEFAULT_ROOT,
    LlamaGrammar,
    json_schema_to_gbnf,
)

__all__ = [
    "ARITHMETIC_GBNF",
    "CHESS_GBNF",
    "C_GBNF",
    "JAPANESE_GBNF",
    "JSON_ARR_GBNF",
    "JSON_GBNF",
    "LIST_GBNF",
    "LLAMA_GRAMMAR_DEFAULT_ROOT",
    "LlamaGrammar",
    "json_schema_to_gbnf",
]
