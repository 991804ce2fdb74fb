"""A prepared test: with its model loaded, its context created and its threads attached, one call is one repetition."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from llamacli.bench.measure.affinity import check_cpus, cpu_flags, thread_ids, unbound_after
from llamacli.bench.measure.params import BenchTest, ModelFacts, Repetition
from llamacli.bench.measure.setup import context_params, model_params
from llamacli.binding.arrays import byte_array, int64_buffer, new_struct, reference
from llamacli.binding.library import library
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.loading import interruptible
from llamacli.engine.runtime.model import Model
from llamacli.errors import MemoryFullError, ModelUnsupportedError, UsageError

_POSITIONS = "position_embd.weight"
"""The table of learned positions: a model that has one cannot read beyond its end."""

_WARM_TOKENS = 16
"""Tokens that a warm-up generates: weights and caches are warm long before the end of a test."""


class PreparedTest(Protocol):
    """A test that is ready to be repeated."""

    test: BenchTest

    def run(self) -> Repetition:
        """Run one repetition.

        Raises:
            LlamacliError: if it failed; CancelledError: if it was cancelled.
        """

    def warm_up(self) -> int:
        """Run once to warm up, perhaps with fewer tokens; return nanoseconds."""

    def close(self) -> None:
        """Free the resources of the test, without a shared model."""


def load_model(test: BenchTest, cancel: CancelFlag, on_load: Callable[[float], None] | None = None) -> Model:
    """Load the test's model.

    Raises:
        ModelError, MemoryFullError: if it cannot be loaded as requested; with fewer layers on a GPU it would be another test.
    """
    model = Model(Path(test.model), model_params(test), cancel=cancel, on_load=on_load)
    if model.notes:
        model.close()
        raise MemoryFullError(model.notes[0].partition("; trying")[0], hint="use a smaller gpu_layers", parameter="gpu_layers")
    return model


def check_possible(test: BenchTest, model: Model) -> None:
    """Refuse tests for which llama.cpp would abort the process or give meaningless figures.

    Raises:
        ModelUnsupportedError: if an encoder is to generate or has a depth, or the model has an encoder beside its decoder.
        UsageError: if the model cannot read that many tokens, or not in such batches.
    """
    length, name = test.n_prompt + test.n_gen + test.n_depth, model.path.name
    if model.has_encoder:
        raise ModelUnsupportedError(f"{name} reads its prompt with an encoder beside the decoder, which cannot be measured")
    if not model.can_generate and test.n_gen:
        raise ModelUnsupportedError(
            f"{name} does not generate text, so only prompts can be measured", hint="use n_gen=0", parameter="n_gen"
        )
    if not model.can_generate and test.n_depth:
        raise ModelUnsupportedError(
            f"{name} does not keep tokens that a prompt could follow", hint="use n_depth=0", parameter="n_depth"
        )
    if length > model.n_ctx_train and any(tensor.name == _POSITIONS for tensor in model.header.tensors):
        raise UsageError(f"{name} has positions for {model.n_ctx_train} tokens, but the test has {length}")
    needed = max(test.n_prompt, test.n_parallel)
    if not model.is_causal and needed > min(test.n_batch, test.n_ubatch):
        raise UsageError(
            f"{name} reads a prompt in a single micro-batch",
            hint=f"use n_batch and n_ubatch of {needed} or more",
            parameter="n_ubatch",
        )


def model_facts(model: Model) -> ModelFacts:
    """Return the facts of a model for the rows."""
    lib = library()
    return ModelFacts(
        kind=model.description,
        size=int(lib.llama_model_size(model.handle)),
        n_params=int(lib.llama_model_n_params(model.handle)),
    )


class TokenTest:
    """A test with its own context. It is closed before its model. `context` replaces the parameters that follow from the test.

    Raises (by the constructor): what `Context` and `check_possible` raise; UsageError if the CPU mask is invalid or cannot be
    applied.
    """

    def __init__(self, test: BenchTest, model: Model, context: ContextParams | None = None) -> None:
        check_possible(test, model)
        self.test = test
        self._library = library()
        self._in_single_batch = not model.is_causal
        self._context = interruptible(lambda: Context(model, context or context_params(test)), model.cancel)
        try:
            cpus = cpu_flags(test.cpu_mask)
            check_cpus(test.cpu_mask, cpus, strict=test.cpu_strict)
            self._is_bound = any(cpus)
            others = thread_ids()
            self._workers = self._library.llamacli_workers_new(
                test.n_threads, byte_array(cpus), len(cpus), test.cpu_strict, test.poll
            )
        except BaseException:
            self._context.close()
            raise
        self._own_threads = thread_ids() - others
        self._library.llamacli_workers_attach(self._workers, self._context.handle)
        self._can_truncate = not model.is_recurrent and not model.window
        self._states: list[bytes] | None = None
        self._at_depth = False

    def run(self) -> Repetition:
        """Run one repetition, after the tokens of the test's depth."""
        self._restore_depth()
        return self._measure(self.test.n_prompt, self.test.n_gen, self.test.workload != "speed")

    def warm_up(self) -> int:
        """Evaluate the whole prompt on an empty context and generate a few tokens; return nanoseconds."""
        self._context.clear()
        self._at_depth = False
        return self._measure(self.test.n_prompt, min(self.test.n_gen, _WARM_TOKENS), False).total_ns

    def _measure(self, n_prompt: int, n_gen: int, timed: bool) -> Repetition:
        times, steps = new_struct("llamacli_times"), int64_buffer(n_gen) if timed else None
        n_batch = min(self.test.n_batch, self._context.n_batch)
        if self._in_single_batch and n_prompt:
            n_batch = min(n_batch, self.test.n_ubatch) // n_prompt * n_prompt  # only whole prompts, as many as fit in a batch
        with unbound_after(self._own_threads) if self._is_bound else nullcontext():
            self._library.llamacli_measure_tokens(
                self._context.evaluator, n_prompt, n_gen, self.test.n_parallel, n_batch, steps, reference(times)
            )
        return Repetition(
            total_ns=times.total_ns,
            prompt_ns=times.prompt_ns if timed else 0,
            steps_ns=tuple(steps) if steps is not None else (),
        )

    def _restore_depth(self) -> None:
        """Leave the tokens of the test's depth in the cache. They are evaluated only once."""
        depth, context = self.test.n_depth, self._context
        sequences = range(self.test.n_parallel)
        if self._at_depth and self._can_truncate and all(context.forget(sequence, depth) for sequence in sequences):
            return
        context.clear()
        if not depth:
            return
        if self._states is not None:
            for sequence, state in zip(sequences, self._states, strict=True):
                context.restore_sequence(sequence, state)
            return
        self._at_depth = False
        self._measure(depth, 0, False)
        self._at_depth = True
        if not self._can_truncate:  # such a cache cannot be truncated to the depth, only restored
            self._states = [context.save_sequence(sequence) for sequence in sequences]

    def close(self) -> None:
        """Free the context and its threads."""
        self._context.close()
        workers, self._workers = self._workers, None
        self._library.llamacli_workers_free(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def warm_until_stable(prepared: PreparedTest, *, change: float = 0.03, most: int = 5, seconds: float = 20.0) -> int:
    """Run until two consecutive runs differ by no more than `change`; return the number of runs.

    The first run touches weights and buffers; during later ones the clock may still rise.
    """
    started, before = time.perf_counter(), prepared.warm_up()
    for count in range(2, most + 1):
        if time.perf_counter() - started > seconds:
            return count - 1
        now = prepared.warm_up()
        if abs(now - before) <= change * before:
            return count
        before = now
    return most
