"""Generation on a sequence that is evaluated by hand: grammars, criteria and draft models."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llamacli.api.manual.evaluation import ManualEvaluation
from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.constraint.matcher import Matcher
from llamacli.engine.generation.request import Criterion, Processor
from llamacli.errors import ConstraintError

if TYPE_CHECKING:
    from llamacli.engine.params import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """Constraints of `generate`: a callable that changes logits, a grammar, a stopping criterion, and a draft model.

    `stops` receives the evaluated tokens and the (n_vocab,) logits; True ends the generation before the next token. `guess`
    returns tokens that may follow.
    """

    processor: Processor | None = None
    constraint: Constraint | None = None
    stops: Criterion | None = None
    guess: Callable[[list[int]], Sequence[int]] | None = None


class SteeredEvaluation(ManualEvaluation):
    """A sequence evaluated by hand that also generates."""

    def choose(self, params: SamplingParams, processor: Processor | None, constraint: Constraint | None) -> int:
        """Sample a token from the last logits, under a constraint from its start. Raises as `sample`."""
        if constraint is None:
            return self.sample(params, processor)
        with self.turn(), closing(Matcher(self.context().model, constraint)) as matcher:
            return self.sample(params, processor, matcher)

    def generate(self, tokens: Sequence[int], params: SamplingParams, steering: Steering) -> Generator[int, Any, None]:
        """Evaluate the tokens, then yield sampled tokens without end, or until the grammar or the criterion ends it.

        Tokens sent into the generator are evaluated too.

        Raises:
            ConstraintError: if the grammar allows no token, or not those that were sent.
        """
        with ExitStack() as stack:
            matcher = None
            if steering.constraint is not None:
                with self.turn():
                    matcher = stack.enter_context(closing(Matcher(self.context().model, steering.constraint)))
            pending, guesses = list(tokens), list[int]()
            while True:
                with self.turn():
                    self.eval([*pending, *guesses], outputs=len(guesses) + 1)
                    del self.tokens[len(self.tokens) - len(guesses) :]
                for place in range(len(guesses) + 1):
                    with self.turn():
                        row = self.last_output() - len(guesses) + place if guesses else None
                        if steering.stops is not None and steering.stops(self.tokens, self._row(row)):
                            return
                        token = self.sample(params, steering.processor, matcher, row=row)
                        is_over = matcher is not None and matcher.must_end
                    sent = list((yield token) or ())
                    if is_over:
                        return
                    self._accept(matcher, sent)
                    if sent or place == len(guesses) or token != guesses[place]:
                        break
                    self.tokens.append(token)
                pending = [token, *sent]
                guesses = self._guesses(pending, steering)

    def _accept(self, matcher: Matcher | None, tokens: list[int]) -> None:
        if matcher is not None:
            with self.turn():
                if not all(map(matcher.accept, tokens)):
                    raise ConstraintError("the grammar does not allow the tokens sent into the generator")

    def _guesses(self, pending: list[int], steering: Steering) -> list[int]:
        """Return the tokens that may follow, as many as one batch and the context hold."""
        if steering.guess is None:
            return []
        room = min(self.context().n_ctx - len(self.tokens), self.context().n_batch) - len(pending)
        size = self.context().model.vocabulary.size
        return [token for token in steering.guess([*self.tokens, *pending]) if 0 <= token < size][: max(room, 0)]

    def _row(self, row: int | None) -> memoryview[float]:
        if row is not None:
            return self.context().logits(row)
        scores: Any = self.last_row()
        return memoryview(scores)
