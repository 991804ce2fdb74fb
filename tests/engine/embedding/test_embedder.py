"""Vectors from texts: pieces, packing, arithmetic, and that packing changes nothing."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bert import tiny_bert

from llamacli.engine.embedding import vectors
from llamacli.engine.embedding.chunking import Frame, Piece, cut, pair_frame, windows
from llamacli.engine.embedding.embedder import Embedder
from llamacli.engine.embedding.outcome import Embedded, NotEmbedded
from llamacli.engine.embedding.packing import TILE, pack
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.engine.embedding.prefetch import prefetch
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.model import Model
from llamacli.errors import CancelledError, ContextFullError, EngineError, ModelUnsupportedError, UsageError

REFERENCE = Path(__file__).parents[2] / "data" / "minilm.json"
WORDS = ("red", "cat", "sat", "on", "mat", "blue", "dog", "ran")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert") / "bert.gguf")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert") / "rerank.gguf", rerank=True)


def mixed(count: int, longest: int = 40) -> list[str]:
    draw = random.Random(5)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, longest))) for _ in range(count)]


def rows(outcomes) -> np.ndarray:
    outcomes = list(outcomes)
    assert all(isinstance(outcome, Embedded) for outcome in outcomes), outcomes
    return np.concatenate([outcome.vectors for outcome in outcomes])


# --- pieces and batches ---------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 70), max_size=60), st.integers(1, 100), st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_every_piece_is_in_one_batch_and_batches_keep_to_their_bounds(lengths, budget, most):
    pieces = [Piece(number, 0, [0] * length) for number, length in enumerate(lengths)]
    batches = pack(pieces, budget=budget, max_pieces=most)
    assert sorted(piece.owner for batch in batches for piece in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= most
        assert sum(len(piece.tokens) for piece in batch) <= budget or len(batch) == 1


def test_texts_fill_the_tiles_of_attention():
    draw = random.Random(3)
    lengths = [min(120, max(4, round(draw.lognormvariate(2.8, 0.8)))) for _ in range(1000)]
    batches = pack([Piece(number, 0, [0] * length) for number, length in enumerate(lengths)], budget=4 * TILE, max_pieces=64)
    assert len(batches) == -(-sum(lengths) // (4 * TILE))  # none could be spared
    reaching = 0  # texts that lie in one more tile than they need
    for batch in batches:
        ends = list(itertools.accumulate(len(piece.tokens) for piece in batch))
        reaching += sum(
            (end - 1) // TILE - start // TILE >= -(-(end - start) // TILE) for start, end in itertools.pairwise([0, *ends])
        )
    assert reaching <= 10


def test_a_text_that_fills_a_tile_alone_needs_no_other():
    batches = pack(
        [Piece(number, 0, [0] * length) for number, length in enumerate([64, 100, 28, 40, 24, 300])], budget=256, max_pieces=9
    )
    assert [[len(piece.tokens) for piece in batch] for batch in batches] == [[300], [100, 28, 64, 40, 24]]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 19))
def test_windows_cover_a_text_and_overlap(length, size, overlap):
    overlap = min(overlap, size - 1)
    parts = [list(part) for part in windows(range(length), size, overlap)]
    assert parts[0] + [token for part in parts[1:] for token in part[overlap:]] == list(range(length))
    assert all(0 < len(part) <= size for part in parts)
    assert all(first[len(first) - overlap :] == second[:overlap] for first, second in itertools.pairwise(parts))


def test_a_text_that_is_too_long():
    frame = Frame((1,), (2,))
    params = EmbeddingParams()
    with pytest.raises(ContextFullError, match="8 tokens, the limit is 5") as caught:
        cut(list(range(10, 16)), frame, 5, params)
    assert (caught.value.needed, caught.value.available) == (8, 5)
    truncate = dataclasses.replace(params, overflow="truncate")
    assert cut(list(range(10, 16)), frame, 5, truncate) == ([[1, 10, 11, 12, 2]], True)
    chunk = dataclasses.replace(params, overflow="chunk", chunk=2)
    assert cut([10, 11, 12], frame, 5, chunk) == ([[1, 10, 11, 2], [1, 12, 2]], False)
    with pytest.raises(UsageError, match="no room"):
        cut([10], frame, 2, params)


@pytest.mark.parametrize("wrong", [{"dims": 0}, {"chunk": 0}, {"chunk": 4, "overlap": 4}, {"overlap": -1}])
def test_parameters_without_sense(wrong):
    with pytest.raises(UsageError) as caught:
        EmbeddingParams(**wrong)
    assert caught.value.parameter == list(wrong)[-1]


# --- arithmetic -----------------------------------------------------------------------------------------------------------


def test_normalization():
    rows = np.array([[3, -4], [0, 0]], dtype=np.float32)
    assert vectors.normalized(rows, "l2").tolist() == [[pytest.approx(0.6), pytest.approx(-0.8)], [0, 0]]
    assert vectors.normalized(rows, "max").tolist() == [[0.75, -1], [0, 0]]
    assert vectors.normalized(rows, "taxicab")[0].tolist() == [pytest.approx(3 / 7), pytest.approx(-4 / 7)]
    assert vectors.normalized(rows, "none").tolist() == rows.tolist()
    assert vectors.finish(rows, normalize="l2", dims=1).tolist() == [[1], [0]]


def test_numbers_that_are_not_finite_are_an_error():
    with pytest.raises(EngineError, match="not finite"):
        vectors.finish(np.array([[1, np.nan]], dtype=np.float32), normalize="l2", dims=None)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, -1.0]), min_size=1, max_size=30), st.integers(1, 31))
def test_candidates_hold_the_best_and_all_that_equal_the_last(values, count):
    scores = np.array(values, dtype=np.float32)
    found = vectors.candidates(scores, count)
    last = sorted(values, reverse=True)[:count][-1]
    assert found == [place for place, value in enumerate(values) if value >= last]


def test_the_best_are_kept_and_the_earlier_of_equals_comes_first():
    best = vectors.Best(2)
    dropped = [best.add(score, number) for number, score in enumerate([0.1, 0.9, 0.5, 0.9])]
    assert dropped == [None, None, 0, 2]
    assert best.ranked() == [(0.9, 1), (0.9, 3)]


# --- reading ahead --------------------------------------------------------------------------------------------------------


def test_items_come_in_order_and_so_does_an_error():
    def items():
        yield 1
        yield 2
        raise ValueError("broken")

    got = []
    with pytest.raises(ValueError, match="broken"):
        got.extend(item for item in prefetch(items(), lambda: None) if item is not None)
    assert got == [1, 2]
    assert [item for item in prefetch(range(50), lambda: None) if item is not None] == list(range(50))


def test_waiting_is_told_so_that_other_work_can_be_done():
    released = threading.Event()

    def items():
        yield 1
        released.wait(5)
        yield 2

    got = []
    for item in prefetch(items(), lambda: None):
        got.append(item)
        if item is None:
            released.set()
    assert [item for item in got if item is not None] == [1, 2]
    assert None in got


def test_texts_that_are_there_are_not_held_back_by_those_that_are_not(bert):
    released, waited = threading.Event(), []

    def texts():
        yield from ["red cat"] * 300  # more than a window
        waited.append(released.wait(10))
        yield "dog"

    with Embedder(bert) as embedder:
        outcomes = embedder.embed(texts())
        assert next(outcomes).index == 0
        released.set()
        assert [outcome.index for outcome in outcomes] == list(range(1, 301))
    assert waited == [True]


def test_waiting_for_a_source_that_gives_nothing_can_be_cancelled():
    released = threading.Event()

    def items():
        released.wait(5)
        yield 1

    def check():
        raise CancelledError("cancelled")

    started = time.monotonic()
    with pytest.raises(CancelledError):
        next(prefetch(items(), check))
    assert time.monotonic() - started < 2
    released.set()


# --- models ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bert", "tiny_embedding_model"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_packing_changes_nothing(kind, pooling, request):
    texts = mixed(60, 25)
    with Embedder(request.getfixturevalue(kind), context=ContextParams(threads=2, pooling=pooling)) as embedder:
        together = rows(embedder.embed(texts))
        alone = np.concatenate([rows(embedder.embed([text])) for text in texts[:12]])
        backwards = rows(embedder.embed(texts[::-1]))[::-1]
    with Embedder(request.getfixturevalue(kind), context=ContextParams(threads=1, pooling=pooling), budget=512) as embedder:
        other = rows(embedder.embed(texts))
    for vectors_of_same in (together[:12] @ alone.T, together @ backwards.T, together @ other.T):
        assert np.diagonal(vectors_of_same).min() > 0.9999


def test_outcomes_keep_the_order_of_texts_and_errors_their_place(bert):
    texts = ["red cat", "", "  \n", UsageError("no such field"), "cat " * 100, "blue dog"]
    told = []
    with Embedder(bert) as embedder:
        outcomes = list(embedder.embed(texts, on_done=told.append))
    assert [outcome.index for outcome in outcomes] == list(range(6))
    errors = [outcome.error.message for outcome in outcomes if isinstance(outcome, NotEmbedded)]
    assert errors == ["the text is empty", "the text is empty", "no such field", "the text has 102 tokens, the limit is 64"]
    assert told[-1] == 6


def test_more_texts_than_a_window(bert):
    texts = mixed(700, 4)
    with Embedder(bert) as embedder:
        assert len(rows(embedder.embed(texts))) == 700
        assert len(rows(embedder.embed(iter(texts[:3])))) == 3


def test_truncating_and_chunking(bert):
    text = " ".join(mixed(1, 1) * 30 + ["dog"] * 100)
    with Embedder(bert) as embedder:
        (short,) = embedder.embed([text], EmbeddingParams(overflow="truncate"))
        (mean,) = embedder.embed([text], EmbeddingParams(overflow="chunk", chunk=40))
        (each,) = embedder.embed([text], EmbeddingParams(overflow="chunk", chunk=40, merge=False))
        (raw,) = embedder.embed([text], EmbeddingParams(overflow="chunk", chunk=40, merge=False, normalize="none"))
    assert (short.truncated, short.tokens, short.vectors.shape) == (True, 64, (1, 32))
    assert (mean.truncated, mean.vectors.shape, each.vectors.shape) == (False, (1, 32), (4, 32))
    expected = vectors.normalized(vectors.weighted_mean(raw.vectors, [42, 42, 42, 12]), "l2")
    assert np.allclose(mean.vectors, expected, atol=1e-6)
    assert mean.tokens == 138


def test_fewer_dimensions_are_the_first_ones_normalized_again(bert):
    with Embedder(bert) as embedder:
        whole = rows(embedder.embed(["red cat"]))
        part = rows(embedder.embed(["red cat"], EmbeddingParams(dims=8)))
        with pytest.raises(UsageError, match="33 exceeds the 32"):
            embedder.embed(["x"], EmbeddingParams(dims=33))
    assert np.allclose(part, vectors.normalized(whole[:, :8], "l2"), atol=1e-6)


def test_without_pooling_each_token_has_a_vector_and_their_mean_is_the_text(bert):
    with Embedder(bert, context=ContextParams(pooling="none")) as embedder:
        each, other = embedder.embed(["red cat sat", "dog"], EmbeddingParams(normalize="none"))
    with Embedder(bert) as embedder:
        mean = rows(embedder.embed(["red cat sat"], EmbeddingParams(normalize="none")))
    assert (each.vectors.shape, other.vectors.shape) == ((5, 32), (3, 32))
    assert np.allclose(each.vectors.mean(axis=0), mean[0], atol=2e-3)


def test_a_prefix_is_part_of_the_text(bert):
    with Embedder(bert) as embedder:
        assert np.allclose(rows(embedder.embed(["cat"], EmbeddingParams(prefix="red "))), rows(embedder.embed(["red cat"])))


def test_control_tokens_in_a_text_stay_text(bert):
    with Embedder(bert) as embedder:
        (outcome,) = embedder.embed(["[SEP]"])
    assert outcome.tokens > 3


def test_a_model_without_pooling_gives_the_mean_and_says_so(tiny_model):
    with Embedder(tiny_model) as embedder:
        assert embedder.pooling == "mean"
        assert embedder.attention == "causal"
        assert any("mean of all tokens" in note for note in embedder.notes)
        assert rows(embedder.embed(["Hello"])).shape == (1, 64)


def test_attention_can_be_changed_where_the_model_allows_it(tiny_embedding_model, bert):
    with Embedder(tiny_embedding_model) as embedder:
        own = rows(embedder.embed(["Hello the world"]))
    with Embedder(tiny_embedding_model, attention="non-causal") as embedder:
        other = rows(embedder.embed(["Hello the world"]))
    assert (own @ other.T)[0, 0] < 0.999
    with Embedder(bert, attention="causal") as embedder, pytest.raises(ModelUnsupportedError, match="encoder"):
        rows(embedder.embed(["cat"]))


def test_models_that_make_no_vectors(tiny_model, monkeypatch):
    with pytest.raises(ModelUnsupportedError, match="not a reranking model"):
        Embedder(tiny_model, context=ContextParams(pooling="rank"))
    monkeypatch.setattr(Model, "has_encoder", True)
    with pytest.raises(ModelUnsupportedError, match="encoder-decoder"):
        Embedder(tiny_model)


def test_numbers_that_are_not_finite_are_an_error_of_their_text(tmp_path):
    path = tmp_path / "nan.gguf"
    vocabulary = tiny.default_vocabulary()
    tensors = [
        dataclasses.replace(tensor, data=tiny.floats([float("nan")] * 64)) if tensor.name == "output_norm.weight" else tensor
        for tensor in tiny.default_tensors(len(vocabulary.tokens))
    ]
    path.write_bytes(tiny.gguf_bytes(tiny.default_metadata(vocabulary, embedding=True), tensors))
    with Embedder(path) as embedder:
        (outcome,) = embedder.embed(["Hello"])
    assert isinstance(outcome, NotEmbedded)
    assert "not finite" in outcome.error.message


def test_a_megabyte_of_one_word(bert, tiny_embedding_model):
    for model in (bert, tiny_embedding_model):
        with Embedder(model) as embedder:
            (outcome,) = embedder.embed(["a" * 1_000_000])
            (short,) = embedder.embed(["a" * 1_000_000], EmbeddingParams(overflow="truncate"))
        assert isinstance(outcome, NotEmbedded) or outcome.tokens <= embedder.limit
        assert isinstance(short, Embedded)


def test_reranking(reranker, bert):
    texts = ["red cat", "blue dog", "cat sat on mat"]
    with Embedder(reranker) as embedder:
        first = rows(embedder.rerank("who sat", texts, EmbeddingParams()))
        other = rows(embedder.rerank("what ran", texts, EmbeddingParams()))
        assert first.shape == (3, 1)
        assert not np.allclose(first, other)
        frame = pair_frame(embedder.model, embedder._frame, "who sat")
        word = embedder.model.vocabulary
        assert frame == Frame((word.bos, *word.tokenize("who sat"), word.eos), (word.eos,))
        with pytest.raises(UsageError, match="query is empty"):
            embedder.rerank(" ", texts, EmbeddingParams())
    with Embedder(bert) as embedder, pytest.raises(ModelUnsupportedError, match="not a reranking model"):
        embedder.rerank("who", texts, EmbeddingParams())


def test_a_rerank_template_holds_query_and_document(tmp_path):
    path = tiny_bert(
        tmp_path / "m.gguf", rerank=True, change={"tokenizer.chat_template.rerank": "[MASK]{query}[SEP]{document}[MASK]"}
    )
    with Embedder(path) as embedder:
        mask, words = 4, embedder.model.vocabulary.tokenize("red [SEP]")
        frame = pair_frame(embedder.model, embedder._frame, "red [SEP]")
    assert frame.head == (2, mask, *words, 3)
    assert frame.tail == (mask, 3)


def test_closing_waits_for_a_text_that_is_being_tokenized(bert, monkeypatch):
    begun, may_end, order = threading.Event(), threading.Event(), []
    embedder = Embedder(bert)
    real = embedder.model.vocabulary.tokenize

    def slow(text, **how):
        begun.set()
        assert may_end.wait(10)
        order.append("tokenized")
        return real(text, **how)

    monkeypatch.setattr(type(embedder.model.vocabulary), "tokenize", lambda _, text, **how: slow(text, **how))
    outcomes = embedder.embed(["red cat", "dog"])

    def read():
        with pytest.raises(CancelledError):
            next(outcomes)

    reading = threading.Thread(target=read)
    reading.start()
    assert begun.wait(10)
    embedder.cancel()
    threading.Timer(0.1, may_end.set).start()
    embedder.close()
    order.append("closed")
    reading.join()
    assert order == ["tokenized", "closed"]


def test_cancelling_ends_the_work(bert):
    def texts():
        yield from itertools.cycle(WORDS)

    with Embedder(bert) as embedder:
        found = embedder.embed(texts())
        next(found)
        embedder.cancel()
        with pytest.raises(CancelledError):
            list(found)


def test_fingerprints_tell_models_apart(bert, reranker):
    prints = set()
    for path in (bert, reranker, bert):
        with Embedder(path) as embedder:
            prints.add(embedder.fingerprint())
    assert len(prints) == 2


# --- the demo model -------------------------------------------------------------------------------------------------------


@pytest.mark.demo
def test_the_demo_model_agrees_with_sentence_transformers(embedding_demo_model):
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    expected = np.stack([np.frombuffer(base64.b64decode(row), dtype="<f4") for row in reference["vectors"]])
    assert len(expected) == 50
    params = EmbeddingParams(overflow="truncate")
    with Embedder(embedding_demo_model) as embedder:
        together = rows(embedder.embed(reference["sentences"], params))
        alone = np.concatenate([rows(embedder.embed([text], params)) for text in reference["sentences"]])
    assert np.einsum("ij,ij->i", together, expected).min() > 0.999
    assert np.einsum("ij,ij->i", together, alone).min() > 0.9999
