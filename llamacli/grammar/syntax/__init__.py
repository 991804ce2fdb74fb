"""Syntax of GBNF: parser, syntax tree, formatter and writer."""
