"""The grammars that come with `LlamaGrammar`: what they allow, and what they do not."""

from __future__ import annotations

import pytest

from llamacli import LlamaGrammar
from llamacli.grammar.gbnf import parse
from llamacli.grammar.matcher import Matcher
from llamacli.llama_cpp import llama_grammar

C = 'int main(int n, char *text) {\n  int x = 3;\n  while (x < n + 2) {\n    x = next(x, "a\\n");\n  }\n  return x;\n}\n'


@pytest.mark.parametrize(
    ("name", "text", "matches"),
    [
        ("JSON_GBNF", '{"a": [1, -2.5e3, "x\\u00e9", null, {"b": true}]}', True),
        ("JSON_GBNF", "[1]", False),
        ("JSON_ARR_GBNF", '[{"a": 1}, 2]', True),
        ("JSON_ARR_GBNF", "{}", False),
        ("LIST_GBNF", "- one\n- two\n", True),
        ("LIST_GBNF", "one\n", False),
        ("ARITHMETIC_GBNF", "a + 3 * (b - 1)=4\n", True),
        ("ARITHMETIC_GBNF", "a +\n", False),
        ("CHESS_GBNF", "1. e4 e5\n2. Nf3 Nc6\n3. O-O exd8=Q+\n", True),
        ("CHESS_GBNF", "1. e9\n", False),
        ("JAPANESE_GBNF", "ひらがな カタカナと漢字。", True),
        ("JAPANESE_GBNF", "Latin", False),
        ("C_GBNF", C, True),
        ("C_GBNF", "int main( {\n}\n", False),
    ],
)
def test_a_constant(name: str, text: str, matches: bool) -> None:
    grammar = LlamaGrammar.from_string(getattr(llama_grammar, name))
    assert Matcher(parse(grammar.text)).matches(text) is matches
