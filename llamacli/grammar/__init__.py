"""GBNF grammars in pure Python: what llama.cpp accepts, told before llama.cpp is asked, with places.

    parse(text)         a Grammar, or GrammarSyntaxError with line, column and offset
    check_safe(text)    the same verdict without the value: call it before any grammar reaches llama.cpp

The tools over a Grammar live in the modules `matcher`, `linter`, `formatter`, `sampler`, `explain`, `regex`, `choices`,
`inference` and `keywords`.
"""

from __future__ import annotations

from dataclasses import dataclass

from llamacli.grammar import safety
from llamacli.grammar.nodes import Rule
from llamacli.grammar.parser import Parser
from llamacli.grammar.problems import MAX_BYTES, Problem
from llamacli.grammar.program import Program

_NOT_CLOSED = ("unterminated-literal", "unterminated-class")


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """A grammar that llama.cpp reads and survives.

    `rules` are in the order of the source; of two with one name the last counts, as in llama.cpp. `program` is the lowered
    form; `root` is the name of the start rule.
    """

    text: str
    rules: tuple[Rule, ...]
    program: Program
    root: str = "root"

    @property
    def names_tokens(self) -> bool:
        """Whether it refers to tokens of a vocabulary, which no text alone can match."""
        return any(terminal.token is not None for terminal in self.program.terminals)

    def with_tokens_as_text(self) -> Grammar:
        """The same with `<token>` as the text between and with the angle brackets, and `!<token>` as any character.

        So a text as people read it can be checked; `<[id]>` has no text and stays as it is.
        """
        if not self.names_tokens:
            return self
        parsed = Parser(self.text, root=self.root, tokens_as_text=True).parse()
        return Grammar(self.text, parsed.rules, parsed.program, self.root)


def parse(text: str, root: str = "root") -> Grammar:
    """Reads a grammar. Raises `GrammarSyntaxError` where llama.cpp refuses it, crashes on it, or never ends."""
    parsed = Parser(text, root=root).parse()
    problems = list(parsed.problems)
    if problems:
        # What stops the strict reading is often only where a literal that was not closed ends by accident.
        likely = Parser(text, root=root, every_problem=True).parse().problems
        problems = [problem for problem in likely if problem.kind in _NOT_CLOSED] or problems
    else:
        problems = _in_order(safety.problems_of(parsed.program, parsed.rules, root, len(text)))
    if problems:
        raise problems[0].as_error(text)
    return Grammar(text, parsed.rules, parsed.program, root)


def check_safe(text: str, root: str = "root") -> None:
    """Raises `GrammarSyntaxError` unless llama.cpp can be given the grammar. Costs about a second per megabyte.

    References to tokens by their text (`<token>`) pass: only the model's vocabulary knows whether they are one token.
    """
    parse(text, root)


def examine(text: str, root: str = "root", *, every_problem: bool = False) -> tuple[Grammar, list[Problem]]:
    """What could be made of a grammar, and the errors in it: the first one, or with `every_problem` all of them.

    With errors, the grammar is fit for being shown, not for being matched.
    """
    parsed = Parser(text, root=root).parse()
    if every_problem and parsed.problems:
        parsed = Parser(text, root=root, every_problem=True).parse()
    grammar = Grammar(text, parsed.rules, parsed.program, root)
    problems = list(parsed.problems)
    fatal = {"bad-encoding", "too-large"} & {problem.kind for problem in problems}
    if not fatal and (every_problem or not problems):
        problems += safety.problems_of(parsed.program, parsed.rules, root, len(text))
    return grammar, _in_order(problems)


def _in_order(problems: list[Problem]) -> list[Problem]:
    """In the order of the source."""
    return sorted(problems, key=lambda problem: problem.start)


__all__ = ["MAX_BYTES", "Grammar", "check_safe", "examine", "parse"]
