"""GBNF grammars, regular expressions and JSON schemas as text, in pure Python.

`gbnf` parses and checks, `syntax` has its parser and formatter, `program` lowers, `matcher` follows texts, `analysis` lints,
explains and samples; `regex`, `schema` and `choices` make grammars.
"""
