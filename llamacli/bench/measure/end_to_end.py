"""The end-to-end test: the time that a user waits, with template, tokenization, sampling and detokenization."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path

from llamacli.bench.measure.kept_prompt import KeptPrompt
from llamacli.bench.measure.params import BenchTest, Repetition
from llamacli.bench.measure.setup import context_params, model_params
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.chat.turn import text_turn
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer, Piece
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.engine.runtime.cache_size import check_cache
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import CancelledError, MemoryFullError, TemplateError, UsageError

_TEXT = (
    "The harbour was quiet when the first boats came home. Nets lay over the rails, grey and heavy, and the gulls walked "
    "along the wall as if they had been asked to count them. Somebody lit the lamp above the door. "
)
_SMALL_WORD = " a"
_MARGIN = 8
"""Tokens of context in addition to prompt and answer: the template's end of a turn."""

_WARM_TOKENS = 16


class EndToEndTest:
    """A chat turn of `n_prompt` tokens (including the template's) that is answered with `n_gen` tokens.

    The prompts of all repetitions differ from their first words, so that no evaluated prefix is reused. With `prompt_cache`
    the whole prompt was read before and is reused. Models without a template get plain text. Sampling is that of `run`, with a
    fixed seed, but continues at the end of an answer.

    Raises (by the constructor): what `Engine` raises; UsageError if the template alone is longer than the prompt.
    """

    def __init__(self, test: BenchTest, cancel: Canceller, on_load: Callable[[float], None] | None = None) -> None:
        self.test = test
        params = dataclasses.replace(context_params(test), n_ctx=self._context_size())
        flag = CancelFlag()  # its own: an engine sets and clears it
        cancel.then(flag.set)
        self._cancel = cancel
        self.engine = Engine(Path(test.model), model_params(test), params, cancel=flag, on_load=on_load)
        self._count = 0
        try:
            if self.engine.notes:
                raise MemoryFullError(
                    self.engine.notes[0].partition("; trying")[0], hint="use a smaller gpu_layers", parameter="gpu_layers"
                )
            check_cache(self.engine.model, params, test.n_prompt + test.n_gen)  # before text of that length is generated
            self._words = self._text_of_length(test.n_prompt)
            self._sampling = self.engine.sampling_defaults(SamplingParams(seed=1, ignore_eos=True))
        except BaseException:
            self.engine.close()
            raise

    def run(self) -> Repetition:
        """Run one chat turn."""
        return self._turn(self.test.n_gen)

    def warm_up(self) -> int:
        """Run a chat turn with a short answer; return nanoseconds."""
        return self._turn(min(self.test.n_gen, _WARM_TOKENS)).total_ns

    def _turn(self, n_gen: int) -> Repetition:
        params = GenerationParams(max_tokens=n_gen, sampling=self._sampling, draft=self.test.draft)
        kept = KeptPrompt(self.engine, self._prompt(self._words)) if self.test.prompt_cache else None
        started = time.perf_counter_ns()
        prompt = self._prompt(self._words)
        if kept is not None:
            kept.restore()
        arrivals: list[int] = []
        for event in self.engine.answer(text_turn(prompt), params, cancel=self._cancel):
            if isinstance(event, Piece) and event.token is not None:
                arrivals.append(time.perf_counter_ns())
            elif isinstance(event, Answer) and event.finish_reason == "cancelled":
                raise CancelledError("cancelled")
        ended = time.perf_counter_ns()
        self._count += 1
        first = arrivals[0] if arrivals else ended
        steps = tuple(after - before for before, after in itertools.pairwise(arrivals))
        return Repetition(total_ns=ended - started, prompt_ns=first - started, steps_ns=steps)

    def _prompt(self, words: str) -> Prompt:
        text = f"{self._count % 1000:03d}. {words}"
        if not self.engine.has_chat_template:
            return self.engine.text_prompt(text)
        question = {"role": "user", "content": text}
        try:
            return self.engine.chat_prompt([{"role": "system", "content": f"{self._count % 1000:03d}."}, question])
        except TemplateError:  # a template that does not support system messages
            return self.engine.chat_prompt([question])

    def _context_size(self) -> int | None:
        """Return the size of the context in tokens; None leaves it to the engine."""
        return self.test.n_prompt + self.test.n_gen + _MARGIN

    def _length(self, words: str) -> int:
        """Return the tokens of the prompt with this text."""
        return len(self._prompt(words).tokens)

    def _text_of_length(self, n_prompt: int) -> str:
        """Return text that gives a prompt of `n_prompt` tokens, or of one less if the vocabulary does not allow it."""
        least = self._length("")
        if least > n_prompt:
            raise UsageError(
                f"the template alone has {least} tokens, more than the prompt",
                hint=f"use n_prompt={least} or more",
                parameter="n_prompt",
            )
        low, high = 0, len(_TEXT) * (1 + n_prompt // 16)
        text = _TEXT * (1 + n_prompt // 16)
        while low < high:
            middle = (low + high + 1) // 2
            if self._length(text[:middle].rstrip()) <= n_prompt:
                low = middle
            else:
                high = middle - 1
        words = text[:low].rstrip()
        while self._length(words + _SMALL_WORD) <= n_prompt:
            words += _SMALL_WORD
        return words

    def close(self) -> None:
        """Free the engine and its model."""
        self.engine.close()
