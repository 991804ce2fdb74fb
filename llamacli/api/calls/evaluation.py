"""Sampling by hand: one token, or a series of them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from llamacli.api.arguments.inputs import token_ids
from llamacli.api.arguments.names import argument_names
from llamacli.api.calls.sequence import ManualSequence
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.api.arguments.options import FurtherSampling
    from llamacli.api.callables import LogitsProcessor, StoppingCriteria
    from llamacli.api.grammar import LlamaGrammar
    from llamacli.engine.params import SamplingParams


class Evaluations(ManualSequence):
    """The calls that sample by hand. A base of `Llama`."""

    def sample(
        self,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        temp: float | None = None,
        repeat_penalty: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        tfs_z: float | None = None,
        mirostat_mode: int | None = None,
        mirostat_eta: float | None = None,
        mirostat_tau: float | None = None,
        penalize_nl: bool | None = None,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None,
        grammar: LlamaGrammar | str | None = None,
        idx: int | None = None,
        *,
        seed: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        **further: Unpack[FurtherSampling],
    ) -> int:
        """Sample a token from the last logits, under a grammar from its start. `idx` is the position of the last token.

        >>> 0 <= llm.sample(temp=0) < llm.n_vocab()
        True

        Raises:
            UsageError: if nothing has been evaluated, or `idx` is another position.
            ConstraintError: if the grammar allows no token.
        """
        given = locals()
        from llamacli.api.arguments.request import constraint_of
        from llamacli.api.callables import processor_of

        with argument_names():
            if idx is not None and idx not in (-1, self.n_tokens - 1):
                raise UsageError(
                    f"idx must be {self.n_tokens - 1}, the last evaluated token, or -1, not {idx}", parameter="idx"
                )
            params = self._sampling(given)
            return self.manual().choose(params, processor_of(logits_processor), constraint_of(grammar))

    def generate(
        self,
        tokens: Sequence[int],
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        temp: float | None = None,
        repeat_penalty: float | None = None,
        reset: bool = True,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        tfs_z: float | None = None,
        mirostat_mode: int | None = None,
        mirostat_tau: float | None = None,
        mirostat_eta: float | None = None,
        penalize_nl: bool | None = None,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None,
        stopping_criteria: StoppingCriteria | Sequence[StoppingCriteria] | None = None,
        grammar: LlamaGrammar | str | None = None,
        *,
        seed: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        **further: Unpack[FurtherSampling],
    ) -> Generator[int, Sequence[int] | None, None]:
        """Yield sampled tokens after `tokens`, without end; tokens sent into the generator are evaluated too.

        Tokens that the cache holds are not evaluated again. A logits processor receives the evaluated tokens and an (n_vocab,)
        array of logits, which it changes or replaces. A stopping criterion receives the same, and returns whether to end before
        the next token. With a grammar the generator ends when nothing more can follow.

        >>> generator = llm.generate(llm.tokenize(b"Hello"), temp=0)
        >>> len([next(generator) for _ in range(3)])
        3
        >>> llm.detokenize(list(llm.generate(llm.tokenize(b"Hello"), grammar='root ::= "yes"')))
        b'yes'
        >>> len(list(llm.generate([77, 78], stopping_criteria=lambda tokens, logits: len(tokens) == 5)))
        3
        """
        given = locals()
        from llamacli.api.arguments.request import constraint_of
        from llamacli.api.callables import criterion_of, processor_of
        from llamacli.api.manual.steered import Steering

        with argument_names():
            params = self._sampling(given)
        steering = Steering(
            processor=processor_of(logits_processor),
            constraint=constraint_of(grammar),
            stops=criterion_of(stopping_criteria),
            guess=self._guess if self.draft_model is not None else None,
        )
        prompt, manual = token_ids(tokens, "tokens"), self.manual()
        if reset:
            manual.reset()
        return self._generated(manual.generate(prompt, params, steering))

    def _generated(self, tokens: Generator[int, Any, None]) -> Generator[int, Sequence[int] | None, None]:
        """Yield the tokens, and keep this object alive, which closes the model when it is dropped."""
        with argument_names():
            yield from tokens

    def _guess(self, tokens: list[int]) -> list[int]:
        import numpy as np

        assert self.draft_model is not None
        return [int(token) for token in self.draft_model(np.array(tokens, dtype=np.intc))]

    def _sampling(self, given: Mapping[str, Any]) -> SamplingParams:
        """Return the parameters of sampling from the arguments of a call."""
        from llamacli.api.arguments.options import sampling_keywords, sampling_params

        seed = self._seed if given["seed"] is None else given["seed"]
        return sampling_params(self._defaults, {**sampling_keywords(given), "temperature": given["temp"], "seed": seed})
