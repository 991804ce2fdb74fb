"""Random grammars and texts for the property tests of `llamacli.grammar`: small, often wrong, always of bounded size."""

from __future__ import annotations

import random

NAMES = ("root", "a", "b", "c-d", "e1")
"""Rules mostly refer to later ones, as left recursion would otherwise spoil most grammars."""
LITERALS = ('""', '"a"', '"ab"', '"b\\n"', '"\\x41"', '"é"', '"\\u4e2d"', '"\\""', '"a\\\\"', '"-"', '" "')
CLASSES = (
    "[a]", "[ab]", "[a-c]", "[^a]", "[^a-b\\n]", "[]", "[^]", "[-a]", "[a-]", "[--a]", "[c-a]", "[\\x00-\\x7f]", "[é-中]",
    "[\\]]", "[^\\]]", "[a-b-c]", "[\\U00000061]", "[\\u0080-\\U0010FFFF]", ".",
)  # fmt: skip
BROKEN = (
    '"', "[a", "\\", "_", "'a'", "<", "<[1]>", "!<[2]>", "<[99999999999]>", "!", ")", "(", "{", "}", "a ::=", "|", "=", '"\\q"',
    "[\\x1]", "[a-\\q]", "\r", "#", "\n", "<a>",
)  # fmt: skip
QUANTIFIERS = ("?", "*", "+", "{2}", "{1,}", "{0,2}", "{1,3}", "{ 2 , 3 }")
ODD_QUANTIFIERS = ("{0}", "{0,0}", "{2001}", "{1,3000}", "{50}", "{50}{50}", "{,3}", "{x}", "{2,\n3}", "{3,1}", "**")
ALPHABET = 'aabbcA-é中 \n"\\]'


def body(rng: random.Random, names: tuple[str, ...], depth: int, *, broken: float) -> str:
    """The right side of a rule."""
    options = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        # At the end of a rule, nothing at all would make the next rule's name part of this one.
        items = [
            item(rng, names, depth, broken=broken) for _ in range(rng.choice((0 if depth or broken else 1, 1, 1, 2, 2, 3)))
        ]
        options.append(rng.choice((" ", " ", "", " # note\n" if depth else "  ")).join(items))
    return rng.choice((" | ", "|", " |\n  ")).join(options)


def item(rng: random.Random, names: tuple[str, ...], depth: int, *, broken: float) -> str:
    """One item, perhaps repeated."""
    chance = rng.random()
    if rng.random() < broken:
        text = rng.choice(BROKEN)
    elif chance < 0.35:
        text = rng.choice(LITERALS)
    elif chance < 0.55:
        text = rng.choice(CLASSES)
    elif names and chance < 0.75:
        text = rng.choice(names)
    elif rng.random() < 0.05:
        text = '"x" ' + rng.choice(NAMES)
    elif depth > 3:
        text = rng.choice(CLASSES)
    else:
        space = rng.choice(("", " ", "\n"))
        text = f"({space}{body(rng, names, depth + 1, broken=broken)}{space})"
    if text not in ('""', "[]", "[^]") and rng.random() < 0.25:
        text += rng.choice(QUANTIFIERS)
    return text + rng.choice(ODD_QUANTIFIERS) if rng.random() < broken else text


def grammar(rng: random.Random, *, broken: float = 0.02) -> str:
    """A grammar with a handful of rules, most of which are defined."""
    names = list(NAMES if broken or rng.random() < 0.9 else NAMES[:3])
    if rng.random() < 0.1:
        names.append(rng.choice(NAMES))  # a second definition, which replaces the first
    rng.shuffle(names)
    head = rng.choice(("", "", "# a grammar\n", "\n\n"))
    ends = rng.choice(("\n", "\n", "\r\n", "\n\n"))
    return head + ends.join(f"{name} ::= {body(rng, NAMES[NAMES.index(name) + 1 :], 0, broken=broken)}" for name in names)


def text(rng: random.Random) -> str:
    """A short text over the characters that the grammars use."""
    return "".join(rng.choice(ALPHABET) for _ in range(rng.randrange(8)))
