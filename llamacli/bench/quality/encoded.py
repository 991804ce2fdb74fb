"""Questions in tokens, and the groups of them that are evaluated side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llamacli.bench.quality.tasks import Choice, TaskQuestion
from llamacli.engine.generation.prompts.prefix_cache import common_length
from llamacli.engine.runtime.model import Model
from llamacli.errors import ContextFullError

_MOST_REPEATED = 64
"""Tokens that may be evaluated again so that another question joins a group: full batches are worth that."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of a choice, context and continuation; those from `start` on are judged."""

    tokens: tuple[int, ...]
    start: int


@dataclass(frozen=True, slots=True)
class EncodedQuestion:
    """A question in tokens. The first `shared` tokens of all choices are the same."""

    choices: tuple[Encoded, ...]
    shared: int

    @property
    def cells(self) -> int:
        """The number of cells that it needs in the cache."""
        return self.shared + sum(len(one.tokens) - self.shared for one in self.choices)

    @property
    def context(self) -> tuple[int, ...]:
        """The tokens that all choices begin with and after which nothing is judged yet: what other questions may share."""
        length = min(self.shared, *(one.start - 1 for one in self.choices))
        return self.choices[0].tokens[:length]


def encode(model: Model, question: TaskQuestion) -> EncodedQuestion:
    """Return a question in tokens."""
    choices = tuple(_encode(model, choice) for choice in question.choices)
    first = choices[0].tokens
    # The last token of the shortest choice stays outside, so that every choice has something of its own to evaluate.
    shared = min(min(common_length(first, one.tokens), len(one.tokens) - 1) for one in choices)
    return EncodedQuestion(choices, shared)


def _encode(model: Model, choice: Choice) -> Encoded:
    """Return a choice in tokens. White space at the end of the context belongs to the continuation, as words begin with it."""
    context = choice.context.rstrip()
    continuation = choice.context[len(context) :] + choice.continuation
    head = model.vocabulary.tokenize(context, add_special=True)
    if model.vocabulary.add_eos and head:
        head.pop()
    whole = model.vocabulary.tokenize(context + continuation, add_special=True)
    if model.vocabulary.add_eos and whole:
        whole.pop()
    if not head:  # something has to come before the first judged token
        end = model.vocabulary.bos if model.vocabulary.bos >= 0 else model.vocabulary.eos
        head, whole = [end], [end, *whole]
    start = min(len(head), len(whole) - 1)
    return Encoded(tuple(whole), max(1, start))


def check_lengths(questions: Sequence[EncodedQuestion], model: Model) -> None:
    """Refuse questions that are longer than the model's context. Raises ContextFullError."""
    longest = max(len(choice.tokens) for question in questions for choice in question.choices)
    if longest > model.n_ctx_train:
        raise ContextFullError(
            f"a question has {longest} tokens, but {model.path.name} was trained with {model.n_ctx_train}",
            needed=longest,
            available=model.n_ctx_train,
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive questions that are evaluated side by side, the first of which is number `begin`.

    All contexts begin with the tokens of `preamble`, such as the same examples.
    """

    begin: int
    questions: tuple[EncodedQuestion, ...]
    preamble: tuple[int, ...]


def cells_for(questions: Sequence[EncodedQuestion], least: int) -> int:
    """Return the size of a cache for all questions, with `least` cells beside the longest preamble."""
    longest = max((common_length(one.context, two.context) for one, two in itertools.pairwise(questions)), default=0)
    return max(least + longest, *(question.cells for question in questions))


def group_questions(questions: Sequence[EncodedQuestion], cells: int, sequences: int) -> Iterator[Group]:
    """Yield groups that fit into so many cells and sequences, one of which has the preamble; at least one question each."""
    begin = 0
    while begin < len(questions):
        preamble, own, choices = questions[begin].context, 0, 1
        end = begin
        for question in questions[begin:]:
            shared = common_length(preamble, question.context)
            repeated = (end - begin) * (len(preamble) - shared)
            own_then = own + repeated + question.cells - shared
            choices += len(question.choices)
            if end > begin and (shared + own_then > cells or choices > sequences or repeated > _MOST_REPEATED):
                break
            preamble, own, end = preamble[:shared], own_then, end + 1
        yield Group(begin, tuple(questions[begin:end]), preamble)
        begin = end
