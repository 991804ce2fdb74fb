"""GBNF grammars: the parser accepts what llama.cpp accepts and survives, and locates errors.

parse(text)         return a Grammar, or raise GrammarSyntaxError with line, column and offset
check_safe(text)    the same check without the value, for every grammar that llama.cpp receives
"""

from __future__ import annotations

from dataclasses import dataclass

from llamacli.grammar.analysis import safety
from llamacli.grammar.program.code import Program
from llamacli.grammar.syntax.nodes import Rule
from llamacli.grammar.syntax.parser import Parser
from llamacli.grammar.syntax.problems import MAX_BYTES, Problem

_NOT_CLOSED = ("unterminated-literal", "unterminated-class")


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """A grammar that llama.cpp accepts and survives.

    `rules` are in the order of the source; the last of several with the same name is in effect, as in llama.cpp. `program` is
    the lowered form; `root` is the name of the start rule.
    """

    text: str
    rules: tuple[Rule, ...]
    program: Program
    root: str = "root"

    @property
    def names_tokens(self) -> bool:
        """True if it refers to tokens of a vocabulary, which text alone cannot match."""
        return any(terminal.token is not None for terminal in self.program.terminals)

    def with_tokens_as_text(self) -> Grammar:
        """Return the grammar with `<token>` as that text, brackets included, and `!<token>` as any character.

        It matches rendered text; `<[id]>` has no text and stays a token.
        """
        if not self.names_tokens:
            return self
        parsed = Parser(self.text, root=self.root, tokens_as_text=True).parse()
        return Grammar(self.text, parsed.rules, parsed.program, self.root)


def parse(text: str, root: str = "root") -> Grammar:
    """Parse a grammar.

    Raises:
        GrammarSyntaxError: if llama.cpp would refuse it, crash, or not terminate.
    """
    parsed = Parser(text, root=root).parse()
    problems = list(parsed.problems)
    if problems:
        # The strict parser often stops only where an unterminated literal ends by accident.
        likely = Parser(text, root=root, every_problem=True).parse().problems
        problems = [problem for problem in likely if problem.kind in _NOT_CLOSED] or problems
    else:
        problems = _in_order(safety.problems_of(parsed.program, parsed.rules, root, len(text)))
    if problems:
        raise problems[0].as_error(text)
    return Grammar(text, parsed.rules, parsed.program, root)


def check_safe(text: str, root: str = "root") -> None:
    """Check that llama.cpp accepts and survives the grammar. Takes about one second per megabyte.

    Token references by text (`<token>`) pass: only the model's vocabulary shows whether they are one token.

    Raises:
        GrammarSyntaxError: if it does not.
    """
    parse(text, root)


def examine(text: str, root: str = "root", *, every_problem: bool = False) -> tuple[Grammar, list[Problem]]:
    """Return a grammar and the errors in it: the first one, or with `every_problem` all.

    A grammar with errors is partial: fit for display, not for matching.
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
    """Return the problems in the order of the source."""
    return sorted(problems, key=lambda problem: problem.start)


__all__ = ["MAX_BYTES", "Grammar", "check_safe", "examine", "parse"]
