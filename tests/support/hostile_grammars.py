"""Grammars and texts made to cost time or memory."""

from __future__ import annotations

import json
import random

HOSTILE = {
    "60,000 nested groups": "root ::= " + "(" * 60_000,
    "60,000 nested and closed groups": "root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000,
    "10 MB in one literal": 'root ::= "' + "a" * 10_000_000 + '"',
    "10 MB of rules": "".join(f"r{i} ::= r{i + 1}\n" for i in range(500_000)),
    "half a megabyte of classes": "root ::= " + "[a-z] " * 80_000,
    "half a megabyte of groups": "root ::= " + "()" * 250_000,
    "half a megabyte of references": "root ::= " + "a " * 250_000,
    "an endless upper bound": 'root ::= "a"{1,1000000}',
    "a long literal many times": 'root ::= "' + "a" * 10_000 + '"{0,2000}',
    "many bounded repetitions": "root ::= " + '"a"{0,2000} ' * 40_000,
    "a chain of rules": "root ::= r0\n" + "".join(f"r{i} ::= r{i + 1}\n" for i in range(20_000)) + 'r20000 ::= "x"',
    "rules that double": "root ::= r0\n"
    + "".join(f'r{i} ::= r{i + 1} "x" | r{i + 1} "y"\n' for i in range(60))
    + 'r60 ::= "x"',
    "rules that double and are empty": "root ::= r0\n"
    + "".join(f"r{i} ::= r{i + 1} r{i + 1} |\n" for i in range(60))
    + 'r60 ::= "x"',
    "very many alternatives": "root ::= " + " | ".join(['"a"'] * 60_000),
    "very many optional items": "root ::= " + '"a"? ' * 60_000,
    "open quotes": 'root ::= "\n' * 40_000,
    "comments only": "#" * 500_000,
    "backslashes": 'root ::= "' + "\\" * 400_000,
    "open brackets": "root ::= " + "[" * 400_000,
}


def json_text(size: int) -> str:
    """Varied JSON of at least `size` characters: one object whose members are random."""
    rng = random.Random(7)
    letters = 'abcdefghijklmnopqrstuvwxyz     éü漢😀"\\\n/'

    def value(depth: int) -> object:
        kind = rng.randrange(9 if depth < 5 else 5)
        if kind < 2:
            return "".join(rng.choice(letters) for _ in range(rng.randrange(40)))
        if kind < 5:
            return rng.choice([True, None, rng.randrange(10**6), round(rng.uniform(-1e3, 1e3), 4), 1.5e-7])
        if kind < 7:
            return [value(depth + 1) for _ in range(rng.randrange(6))]
        return {f"k{number}": value(depth + 1) for number in range(rng.randrange(6))}

    parts: list[str] = []
    while sum(map(len, parts)) < size:
        parts.append(f'"m{len(parts)}": ' + json.dumps(value(0), ensure_ascii=rng.random() < 0.5))
    return "{" + ", ".join(parts) + "}"
