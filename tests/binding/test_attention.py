"""Attention by our own kernels: against double precision, and against itself for other batches, threads and instructions."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llamacli.binding.library import library
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from tests.support.products import AVX2, BEST, UPSTREAM, Floats, attend

pytestmark = pytest.mark.skipif(
    not library().llamacli_kernels_instructions(), reason="this processor has none of the instructions of the kernels"
)


def inputs(heads: int, shared: int, tokens: int, keys: int, width: int, values: int, kind: Any = np.float16) -> Any:
    """Queries, keys, values and a causal mask for the last tokens of a cache with a few empty cells at its end."""
    generator = np.random.default_rng(3)
    queries = generator.standard_normal((heads, tokens, width)).astype(np.float32) * 2
    cache = [generator.standard_normal((heads // shared, keys, size)).astype(kind) for size in (width, values)]
    last = keys - min(5, keys - 1) - tokens + np.arange(tokens)
    mask = np.where(np.arange(keys) <= np.maximum(last, 0)[:, None], 0, -np.inf).astype(np.float16)
    return queries, *cache, mask


def reference(
    queries: Floats, keys: Any, values: Any, mask: Any, *, bias: float = 0.0, cap: float = 0.0, sinks: Any = None
) -> NDArray[np.float64]:
    """The same in double precision."""
    heads, tokens, width = queries.shape
    share = heads // len(keys)
    result = np.empty((tokens, heads, values.shape[-1]))
    whole = 1 << int(np.log2(heads))
    for head in range(heads):
        scores = queries[head].astype(np.float64) @ keys[head // share].astype(np.float64).T / np.sqrt(width)
        scores = cap * np.tanh(scores / cap) if cap else scores
        power = -bias / whole * (head + 1) if head < whole else -bias / 2 / whole * (2 * (head - whole) + 1)
        if mask is not None:
            scores = scores + mask.astype(np.float64) * (2.0**power if bias else 1.0)
        if sinks is not None:
            scores = np.concatenate([scores, np.full((tokens, 1), sinks[head], np.float64)], axis=1)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        result[:, head] = weights[:, : len(keys[0])] @ values[head // share].astype(np.float64)
    return result


@pytest.mark.parametrize("kernels", [BEST, AVX2], ids=["best", "AVX2"])
@pytest.mark.parametrize(
    ("heads", "shared", "tokens", "keys", "width", "values"),
    [(9, 3, 70, 256, 64, 64), (4, 4, 1, 1300, 128, 128), (2, 1, 7, 33, 20, 24), (4, 1, 3, 1, 64, 80), (3, 3, 100, 600, 96, 40)],
)
def test_attention_agrees_with_double_precision(
    kernels: Any, heads: int, shared: int, tokens: int, keys: int, width: int, values: int
) -> None:
    for kind in (np.float16, np.float32):
        given = inputs(heads, shared, tokens, keys, width, values, kind)
        np.testing.assert_allclose(attend(*given, kernels=kernels, threads=2), reference(*given), rtol=0, atol=3e-6)


@pytest.mark.parametrize(
    "more", [{"bias": 8.0}, {"cap": 30.0}, {"sinks": np.array([0.5, -3.0, 90.0, 0.0, 1.0, -90.0], np.float32)}], ids=str
)
def test_biases_caps_and_sinks(more: dict[str, Any]) -> None:
    given = inputs(6, 2, 9, 300, 64, 64)
    if "bias" in more:  # the mask has distances then
        queries, keys, values, mask = given
        given = queries, keys, values, np.where(mask == 0, -np.abs(np.arange(300) - 280)[None], mask).astype(np.float16)
    np.testing.assert_allclose(attend(*given, **more), reference(*given, **more), rtol=0, atol=3e-6)


def test_a_row_depends_neither_on_its_batch_nor_on_threads() -> None:
    queries, keys, values, mask = inputs(9, 3, 60, 1100, 64, 64)
    alone = np.concatenate([attend(queries[:, i : i + 1], keys, values, mask[i : i + 1]) for i in range(60)])
    for count, threads in itertools.product((2, 3, 31, 60), (1, 2, 3, 9)):
        together = attend(queries[:, :count], keys, values, mask[:count], threads=threads)
        assert together.tobytes() == alone[:count].tobytes()


def test_masked_keys_at_the_end_change_nothing() -> None:
    queries, keys, values, mask = inputs(4, 2, 8, 256, 64, 64)
    longer = [np.concatenate([array, np.full_like(array[:, :64], 7)] * 3, axis=1) for array in (keys, values)]
    hidden = np.full((8, longer[0].shape[1] - 256), -np.inf, np.float16)
    expected = attend(queries, keys, values, mask)
    assert attend(queries, *longer, np.concatenate([mask, hidden], axis=1), threads=2).tobytes() == expected.tobytes()


def test_without_a_mask_and_with_one_that_hides_everything() -> None:
    queries, keys, values, mask = inputs(4, 2, 8, 100, 64, 64)
    np.testing.assert_allclose(attend(queries, keys, values, None), reference(queries, keys, values, None), rtol=0, atol=3e-6)
    mask[3] = -np.inf
    found = attend(queries, keys, values, mask)
    assert not found[3].any()
    assert np.isfinite(found).all()


def test_what_is_not_a_number_stays_in_its_row() -> None:
    queries, keys, values, mask = inputs(4, 2, 8, 100, 64, 64)
    expected = attend(queries, keys, values, mask)
    queries[1, 5, 0] = np.nan
    found = attend(queries, keys, values, mask)
    assert np.isnan(found[5, 1]).all()
    found[5, 1] = expected[5, 1]
    assert found.tobytes() == expected.tobytes()


def test_errors_are_at_most_those_of_upstream() -> None:
    for tokens in (1, 80):
        given = inputs(6, 2, tokens, 700, 64, 64)
        exact = reference(*given)
        ours, theirs = (np.abs(attend(*given, kernels=kernels) - exact).max() for kernels in (BEST, UPSTREAM))
        assert ours <= theirs


@pytest.mark.demo
@pytest.mark.parametrize("flash_attention", ["on", "auto"])
def test_a_token_has_the_same_logits_in_every_batch(demo_model: Path, flash_attention: Any) -> None:
    tokens = [(7 * i) % 4000 + 50 for i in range(70)]
    found = []
    with Model(demo_model) as model:
        for sizes, threads in (([70], 1), ([1] * 70, 2), ([33, 2, 31, 1, 3], 3), ([64, 6], 2)):
            params = ContextParams(n_ctx=128, threads=threads, all_outputs=True, flash_attention=flash_attention)
            with Context(model, params) as context:
                done, logits = 0, b""
                for size in sizes:
                    context.decode(tokens[done : done + size], list(range(done, done + size)), [0] * size, [1] * size)
                    logits += b"".join(bytes(context.logits(i)) for i in range(size))
                    done += size
                found.append(logits)
    assert len(set(found)) == 1
