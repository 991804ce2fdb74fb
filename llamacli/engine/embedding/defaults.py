"""Pooling, attention and batch size for a model, where the caller does not choose them."""

from __future__ import annotations

from llamacli.engine.embedding.params import Attention
from llamacli.engine.params import ContextParams, Pooling
from llamacli.engine.runtime.model import Model
from llamacli.errors import ModelUnsupportedError
from llamacli.gguf.header import Header

POOLINGS: tuple[Pooling, ...] = ("none", "mean", "cls", "last", "rank")
"""By llama.cpp's numbers."""


def stated_pooling(header: Header) -> Pooling | None:
    """Return the pooling that a model's metadata states, or None."""
    number = header.integer(f"{header.architecture}.pooling_type")
    return POOLINGS[number] if number is not None and 0 <= number < len(POOLINGS) else None


def choose_pooling(model: Model, requested: Pooling | None) -> Pooling:
    """Return the requested pooling, else the model's own, else the mean, which is then noted on the model.

    Raises:
        ModelUnsupportedError: if the pooling is "rank" and the model has no classifier.
    """
    header = model.header
    pooling = requested or stated_pooling(header)
    if pooling is None or (pooling == "none" and requested is None):
        pooling = "mean"
        model.notes.append(f"{model.path.name} does not specify pooling: using the mean of all tokens")
    if pooling == "rank" and not any(tensor.name.startswith("cls") for tensor in header.tensors):
        raise ModelUnsupportedError(f"{model.path.name} is not a reranking model: it has no classifier")
    return pooling


def choose_attention(model: Model, requested: Attention | None) -> Attention:
    """Return the requested attention, else the model's own."""
    header = model.header
    if requested is not None:
        return requested
    if model.has_encoder or header.flag(f"{header.architecture}.attention.causal") is False:
        return "non-causal"
    return "causal"


def choose_limit(model: Model, requested: int | None) -> int:
    """Return the tokens of the longest text: as requested, but not more than the model was trained with."""
    trained = model.n_ctx_train
    return min(requested, trained) if requested and trained else requested or trained or ContextParams().n_batch


def best_budget(dimension: int) -> int:
    """Return the tokens of one batch for a model of this width: enough to share a pass over the weights, but bounded.

    A layer's activations should stay in the processor's caches. And where attention does not go by tiles (see `packing`), as
    without flash attention, it is computed between all tokens of a batch, even those of different texts. For n tokens and a
    model of width d that takes about n / 6d of the time of the rest of a layer: a ninth at n = 2d / 3.
    """
    return max(128, min(512, dimension * 2 // 3 // 64 * 64))
