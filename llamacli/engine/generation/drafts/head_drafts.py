"""What a model's heads guess: layers that were trained to predict further tokens from its hidden states.

A head takes a token and the state of the token before it, so that it has to see all that the model evaluates. It is in the
model's own file (multi-token prediction), or an EAGLE-3 head in another, which takes the states of three layers. See Gloeckle
et al., "Better & Faster Large Language Models via Multi-token Prediction" (ICML 2024), and Li et al., "EAGLE-3" (2025).
"""

from __future__ import annotations

import dataclasses
import time

from llamacli.binding.arrays import int32, reference, struct_array, token_array
from llamacli.binding.library import library
from llamacli.engine.generation.batches.burst import choice_of
from llamacli.engine.generation.drafts.model_gate import ModelGate
from llamacli.engine.generation.drafts.source import probable
from llamacli.engine.generation.sampler import Sampler
from llamacli.engine.params import MOST_DRAFT, ContextParams, SamplingParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from llamacli.errors import CancelledError

_AT_ONCE = 32
"""Tokens that an EAGLE-3 head reads at once. llama.cpp computes the logits of each of them, and keeps room for them."""


class HeadDrafts:
    """The drafts of a model's heads. `heads` is a context of them beside that of the model, which stays the caller's.

    `relative_size` is the time of one of their tokens, as a share of the model's, before it is measured.
    """

    watches = True

    def __init__(self, context: Context, heads: Context, relative_size: float) -> None:
        self._context, self._heads = context, heads
        self._sampler = Sampler(heads.model, SamplingParams(temperature=0.0), logprobs=0)
        self._choices = struct_array("llamacli_choice", [(0, 0, 0.0)] * MOST_DRAFT)
        self._done = int32()
        self._handle = library().llamacli_heads_new(context.handle, heads.handle, context.params.n_seq_max, heads.n_outputs)
        self.gate = ModelGate(relative_size)

    def missing(self, slot: int, text: list[int]) -> int | None:
        """Return 1, the last token, if the heads have seen what is before it, else None."""
        return 1 if library().llamacli_heads_position(self._handle, slot) == len(text) - 1 else None

    def draft(self, slot: int, text: list[int], most: int, least: float) -> list[int]:
        """See `DraftSource`."""
        started = time.perf_counter()
        lane = self._sampler.lane(slot, len(text) - 1, text[-1], None, least=least)
        _ = self._heads.evaluator  # the kernels of the model compute in this thread
        library().llamacli_heads_draft(
            self._handle, reference(lane), min(most, MOST_DRAFT), self._choices, reference(self._done)
        )
        done = self._done.value
        self.gate.measured_tokens(done, time.perf_counter() - started)
        choices = (choice_of(row, is_last=False) for row in self._choices[:done])
        return probable(choices, self._context.model.vocabulary.size, least)

    def follow(self, slot: int, tokens: list[int], position: int, output: int) -> None:
        """See `DraftSource`."""
        _ = self._heads.evaluator
        try:
            library().llamacli_heads_follow(self._handle, slot, token_array(tokens), len(tokens), position, output)
        except CancelledError:
            self._heads.forget(slot)  # the model has evaluated the tokens all the same
            raise

    def close(self) -> None:
        """Free the heads' context."""
        handle, self._handle = self._handle, None
        if handle is not None:
            library().llamacli_heads_free(handle)
        self._sampler.close()
        self._heads.close()


def open_heads(context: Context) -> HeadDrafts:
    """Return the drafts of the heads of a context's model. Raises as `Context`."""
    params = dataclasses.replace(context.params, swa_full=True, n_outputs=0, rollback=0)
    layers = library().llama_model_n_layer(context.model.handle)
    return _drafts_of(context, Context(context.model, params, heads_of=context), 1 / max(1, layers))


def head_context_params(params: ContextParams) -> ContextParams:
    """Return the parameters of an EAGLE-3 head's context, for those of a draft model's."""
    return dataclasses.replace(params, n_outputs=_AT_ONCE, n_ubatch=min(params.n_ubatch, _AT_ONCE))


def open_head_file(context: Context, head: Model, params: ContextParams) -> HeadDrafts:
    """Return the drafts of the EAGLE-3 head of a context's model; `params` are a draft model's. Raises as `Context`."""
    share = head.header.size / max(1, context.model.header.size)
    return _drafts_of(context, Context(head, head_context_params(params), heads_of=context), share)


def _drafts_of(context: Context, heads: Context, relative_size: float) -> HeadDrafts:
    try:
        return HeadDrafts(context, heads, relative_size)
    except BaseException:
        heads.close()
        raise
