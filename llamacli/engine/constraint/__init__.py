"""Grammars and schemas that constrain an answer."""
