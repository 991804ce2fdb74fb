"""A test made ready: its model loaded, its context made, its threads attached. Then one call is one repetition."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from llamacli.bench.measure.affinity import check_cpus, cpu_flags, thread_ids, unbound_after
from llamacli.bench.measure.params import BenchTest, ModelFacts, Sample
from llamacli.binding.arrays import byte_array, int64_buffer, new_struct, reference
from llamacli.binding.library import library
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.loading import interruptible
from llamacli.engine.runtime.model import Model
from llamacli.errors import MemoryFullError, ModelUnsupportedError, UsageError

_POSITIONS = "position_embd.weight"
"""The table of a model that learnt its positions: beyond its end there are none."""

_WARM_TOKENS = 16
"""A warm-up generates as many: weights and caches are warm long before the end of a test."""


class Ready(Protocol):
    """A test that can be repeated."""

    test: BenchTest

    def run(self) -> Sample:
        """One repetition.

        Raises:
            LlamacliError: it failed; CancelledError: it was cancelled.
        """

    def warm_up(self) -> int:
        """A run that only warms up, perhaps a shorter one; nanoseconds."""

    def close(self) -> None:
        """Frees what the test needed, but for the model."""


def model_params(test: BenchTest) -> ModelParams:
    """How the test's model is loaded. Tests with equal ones and the same file can share it."""
    return ModelParams(
        gpu_layers=None if test.n_gpu_layers < 0 else test.n_gpu_layers,
        split_mode=test.split_mode,
        main_gpu=test.main_gpu,
        tensor_split=test.tensor_split,
        devices=test.devices,
        load_mode=test.load_mode,
        repack=test.repack,
        no_host=test.no_host,
    )


def context_params(test: BenchTest) -> ContextParams:
    """The context of a test: as many tokens as it has, as llama-bench does it."""
    return ContextParams(
        n_ctx=test.n_prompt + test.n_gen + test.n_depth,
        n_batch=test.n_batch,
        n_ubatch=test.n_ubatch,
        n_seq_max=test.n_parallel,
        threads=test.n_threads,
        flash_attention=test.flash_attn,
        cache_type_k=test.type_k,
        cache_type_v=test.type_v,
        kv_offload=not test.no_kv_offload,
        op_offload=not test.no_op_offload,
        embeddings=test.embeddings,
    )


def load_model(test: BenchTest, cancel: CancelFlag, on_load: Callable[[float], None] | None = None) -> Model:
    """Loads the test's model.

    Raises:
        ModelError, MemoryFullError: it cannot be loaded as the test asks; with fewer layers on a GPU it would be another test.
    """
    model = Model(Path(test.model), model_params(test), cancel=cancel, on_load=on_load)
    if model.notes:
        model.close()
        raise MemoryFullError(model.notes[0].partition("; trying")[0], hint="use a smaller -ngl")
    return model


def check_possible(test: BenchTest, model: Model) -> None:
    """Refuses what a model cannot do, where llama.cpp would end the process or give figures that mean nothing.

    Raises:
        ModelUnsupportedError: an encoder cannot generate, nor go on after a depth; nor can the prompt be read at all.
        UsageError: the model cannot read so many tokens, or not in such batches.
    """
    length, name = test.n_prompt + test.n_gen + test.n_depth, model.path.name
    if model.has_encoder:
        raise ModelUnsupportedError(f"{name} reads its prompt with an encoder beside the decoder: that is not measured")
    if not model.can_generate and test.n_gen:
        raise ModelUnsupportedError(f"{name} does not generate text, so only prompts can be measured", hint="use -n 0")
    if not model.can_generate and test.n_depth:
        raise ModelUnsupportedError(f"{name} keeps no tokens that a prompt could come after", hint="use -d 0")
    if length > model.n_ctx_train and any(tensor.name == _POSITIONS for tensor in model.header.tensors):
        raise UsageError(f"{name} has positions for {model.n_ctx_train} tokens, and the test has {length}")
    needed = max(test.n_prompt, test.n_parallel)
    if not model.is_causal and needed > min(test.n_batch, test.n_ubatch):
        raise UsageError(f"{name} reads a prompt at once", hint=f"use -b and -ub of {needed} or more")


def model_facts(model: Model) -> ModelFacts:
    """What rows tell of a model."""
    lib = library()
    return ModelFacts(
        kind=model.description,
        size=int(lib.llama_model_size(model.handle)),
        n_params=int(lib.llama_model_n_params(model.handle)),
    )


class ReadyTest:
    """A test on a context of its own. Closed before its model. `context` is the test's, with what no test can say besides.

    Raises (when built): what `Context` and `check_possible` raise; UsageError for a CPU mask that is none, or cannot be obeyed.
    """

    def __init__(self, test: BenchTest, model: Model, context: ContextParams | None = None) -> None:
        check_possible(test, model)
        self.test = test
        self._library = library()
        self._in_one = not model.is_causal
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
        self._forgets = not model.is_recurrent and not self._library.llama_model_n_swa(model.handle)
        self._states: list[bytes] | None = None
        self._is_deep = False

    def run(self) -> Sample:
        """One repetition, after what the test's depth needs."""
        self._go_to_depth()
        return self._measure(self.test.n_prompt, self.test.n_gen, self.test.workload != "speed")

    def warm_up(self) -> int:
        """The whole prompt, but few generated tokens, on an empty context."""
        self._context.clear()
        self._is_deep = False
        return self._measure(self.test.n_prompt, min(self.test.n_gen, _WARM_TOKENS), False).total_ns

    def _measure(self, n_prompt: int, n_gen: int, timed: bool) -> Sample:
        times, steps = new_struct("llamacli_times"), int64_buffer(n_gen) if timed else None
        n_batch = min(self.test.n_batch, self._context.n_batch)
        if self._in_one and n_prompt:
            n_batch = min(n_batch, self.test.n_ubatch) // n_prompt * n_prompt  # as many whole prompts as go at once
        with unbound_after(self._own_threads) if self._is_bound else nullcontext():
            self._library.llamacli_measure_tokens(
                self._context.handle, n_prompt, n_gen, self.test.n_parallel, n_batch, steps, reference(times)
            )
        return Sample(
            total_ns=times.total_ns,
            prompt_ns=times.prompt_ns if timed else 0,
            steps_ns=tuple(steps) if steps is not None else (),
        )

    def _go_to_depth(self) -> None:
        """Leaves as many tokens in the cache as the test's depth, evaluated once."""
        depth, context = self.test.n_depth, self._context
        sequences = range(self.test.n_parallel)
        if self._is_deep and self._forgets and all(context.forget(sequence, depth) for sequence in sequences):
            return
        context.clear()
        if not depth:
            return
        if self._states is not None:
            for sequence, state in zip(sequences, self._states, strict=True):
                context.restore_sequence(sequence, state)
            return
        self._is_deep = False
        self._measure(depth, 0, False)
        self._is_deep = True
        if not self._forgets:  # such a memory cannot be cut back to the depth, only be brought back
            self._states = [context.save_sequence(sequence) for sequence in sequences]

    def close(self) -> None:
        """Frees the context and its threads."""
        self._context.close()
        workers, self._workers = self._workers, None
        self._library.llamacli_workers_free(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def warm_until_stable(ready: Ready, *, change: float = 0.03, most: int = 5, seconds: float = 20.0) -> int:
    """Runs until two runs on end differ by no more than `change`; how many it took.

    The first touches weights and buffers, later ones may still find clocks rising.
    """
    started, before = time.perf_counter(), ready.warm_up()
    for count in range(2, most + 1):
        if time.perf_counter() - started > seconds:
            return count - 1
        now = ready.warm_up()
        if abs(now - before) <= change * before:
            return count
        before = now
    return most
