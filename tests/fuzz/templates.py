"""Mutants of chat templates, and templates made to cost time or memory."""

from __future__ import annotations

import random

import tiny

HOSTILE = (
    "{% for a in range(10**9) %}{% endfor %}",
    "{{ 'a' * 10**9 }}",
    "{% for a in range(30000) %}{% for b in range(30000) %}{% endfor %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ messages | map('upper') | list * 100000 }}",
    "{% set x = 'a' * 1000 %}{% for i in range(1000) %}{% set x = x ~ x %}{{ x }}{% endfor %}",
    "{{ range(2**40) | list }}",
    "{{ range(10000000) | select('equalto', 3) | list }}",
    "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{{ '%s' % ('a' * 10000000) }}",
    "{" * 5000,
    "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    "{% if true %}" * 5000,
    "{{ " + "not " * 20000 + "true }}",
    "{{ 'x'.replace('', 'aaaaaaaaaa' * 100000) }}",
    "{{ [1] * (2**40) }}",
    "{{ messages[0].content * 100000000 }}",
)
PIECES = (
    "{{", "}}", "{%", "%}", "{#", "#}", "{%-", "-%}", "if", "endif", "for", "in", "endfor", "set", "macro", "namespace()",
    "messages", "tools", "loop.index", "none", "true", "is defined", "|", "length", "tojson", "trim", "default('')", "[",
    "]", "[-1]", "[::-1]", ".x", "(", ")", "'", '"', "\\", "~", "+", "-", "*", "//", "%", "**", "not", "and", "or", "==",
    "<", "0", "1e9", "9999999999999999999", "content", "raise_exception('x')", "strftime_now('%Y')", "message['role']",
    "split(' ')", "items()", "{'a': 1}", "\n", "\x00", "é",
)  # fmt: skip


def mutant(chance: random.Random) -> str:
    """A template that is hostile, or one that works with a few changes."""
    if chance.random() < 0.3:
        return chance.choice(HOSTILE)
    text = chance.choice((tiny.CHATML, CALLS))
    for _ in range(chance.choice((1, 2, 4, 8))):
        start = chance.randrange(len(text) + 1)
        match chance.randrange(3):
            case 0:
                text = text[:start] + text[start + chance.choice((1, 2, 8, 40)) :]
            case 1:
                text = f"{text[:start]} {chance.choice(PIECES)} {text[start:]}"
            case _:
                end = start + chance.choice((1, 10, 60))
                text = text[:end] + text[start:end] * chance.choice((1, 3)) + text[end:]
    return text or " "


CALLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{% if m.role == 'assistant' and m.tool_calls %}"
    "{% for c in m.tool_calls %}<tool_call>{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}"
    "</tool_call>{% endfor %}{% else %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
