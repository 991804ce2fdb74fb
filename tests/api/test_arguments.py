"""What may be given to the Python API, and how it says that something else was given."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from llamacli import Llama, LlamaGrammar
from llamacli.engine.engine import Engine
from llamacli.engine.params import SamplingParams
from llamacli.errors import ClosedError, SchemaError, TemplateError, UsageError


@pytest.fixture(scope="module")
def llm(tiny_model: Path) -> Iterator[Llama]:
    with Llama(tiny_model, n_ctx=256, n_threads=1, seed=1) as llm:
        yield llm


TOKENS = [77, 78, 79]


@pytest.mark.parametrize(
    "prompt", [TOKENS, tuple(TOKENS), np.array(TOKENS), np.array(TOKENS, dtype=np.int32), [np.int32(token) for token in TOKENS]]
)
def test_token_ids_of_any_kind(llm: Llama, prompt: Any) -> None:
    answer = llm(prompt, max_tokens=2, temperature=0)
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["choices"][0]["text"] == llm(TOKENS, max_tokens=2, temperature=0)["choices"][0]["text"]
    llm.reset()
    llm.eval(prompt)
    assert llm.n_tokens == 3
    assert llm.detokenize(prompt) == llm.detokenize(TOKENS)


@pytest.mark.parametrize("prompt", [[[77], [78, 79]], np.array([[77, 78], [79, 80]]), ["a text", [77, 78]]])
def test_several_prompts_of_tokens(llm: Llama, prompt: Any) -> None:
    together = llm(prompt, max_tokens=2, temperature=0)["choices"]
    assert [choice["text"] for choice in together] == [
        llm(each, max_tokens=2, temperature=0)["choices"][0]["text"] for each in prompt
    ]


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ([77, 2.7, 78], r"prompt\[1\] is 2\.7"),
        ([1.0, 2.0], r"prompt\[0\] is 1\.0"),
        (np.array([1.0]), r"prompt\[0\]"),
        ([[77], [78, None]], r"prompt\[1\]\[1\] is None"),
        (["text", 3], r"prompt\[1\] is 3"),
        (b"text", "bytes"),
        (None, "NoneType"),
        (5, "int"),
        ([b"text"], r"prompt\[0\] is of type bytes"),
    ],
)
def test_other_prompts_are_named(llm: Llama, prompt: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        llm(prompt, max_tokens=1)


@pytest.mark.parametrize("method", ["eval", "generate", "detokenize"])
def test_other_tokens_are_named(llm: Llama, method: str) -> None:
    call: Callable[[Any], Any] = getattr(llm, method)
    with pytest.raises(UsageError, match=r"tokens\[1\] is 2\.7"):
        call([77, 2.7])
    with pytest.raises(UsageError, match="tokens is of type str"):
        call("text")


@pytest.mark.parametrize(
    ("arguments", "attribute", "expected"),
    [
        ({"type_k": 8, "flash_attn": True}, "cache_type_k", "q8_0"),
        ({"type_k": "bf16"}, "cache_type_k", "bf16"),
        ({"type_v": None}, "cache_type_v", "f16"),
        ({"flash_attn": False}, "flash_attention", "off"),
        ({"flash_attn": 1}, "flash_attention", "on"),
        ({"flash_attn": -1}, "flash_attention", "auto"),
        ({"n_threads": np.int64(1)}, "threads", 1),
        ({"split_mode": 1}, None, "layer"),
        ({"split_mode": 2}, None, "row"),
    ],
)
def test_numbers_that_llama_cpp_python_takes(tmp_path: Path, arguments: Any, attribute: str | None, expected: object) -> None:
    model = tiny.tiny_model(tmp_path / "wide-heads.gguf", heads=2)
    with Llama(model, **{"n_ctx": 256, "n_threads": 1, "tensor_split": None} | arguments) as llm:
        assert llm.create_completion("Hello", max_tokens=1)
        found = getattr(llm._context_params, attribute) if attribute else llm.engine.model.params.split_mode
        assert found == expected


def test_poolings(tiny_embedding_model: Path) -> None:
    def vectors(pooling_type: Any) -> Any:
        with Llama(tiny_embedding_model, embedding=True, n_threads=1, pooling_type=pooling_type) as llm:
            return llm.embed("some text"), len(llm.tokenize("some text", add_bos=False))

    (own, count), (mean, _), (none, _), (last, _) = (vectors(each) for each in (-1, 1, 0, "last"))
    assert own == pytest.approx(mean, abs=1e-5)
    assert np.array(none).shape == (count, len(mean))
    assert none[-1] == pytest.approx(last, abs=1e-4)


def test_vectors_of_tokens_of_several_texts(tiny_embedding_model: Path) -> None:
    with Llama(tiny_embedding_model, embedding=True, n_threads=1, pooling_type="none") as llm:
        answer = llm.create_embedding(["one", "some more text"])
        lengths = [len(llm.tokenize(text, add_bos=False)) for text in ("one", "some more text")]
        assert [len(row["embedding"]) for row in answer["data"]] == lengths
        assert answer["usage"]["total_tokens"] == sum(lengths)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"type_k": "f17"}, "type_k must be one of f32, f16, .*, not 'f17'"),
        ({"type_v": 12}, "type_v must be .*, not 12"),
        ({"flash_attn": "maybe"}, "flash_attn must be .*, not 'maybe'"),
        ({"split_mode": 9}, "split_mode must be .*, not 9"),
        ({"pooling_type": "x"}, "pooling_type must be .*, not 'x'"),
        ({"n_threads": "2"}, "n_threads must be an integer, not '2'"),
        ({"n_ctx": 2.5}, r"n_ctx must be an integer, not 2\.5"),
        ({"seed": "x"}, "seed must be an integer, not 'x'"),
        ({"seed": 2**32}, "seed"),
        ({"chat_format": "nosuch"}, "nosuch"),
        ({"chat_format": "{{ x"}, "template"),
    ],
)
def test_wrong_values_are_told_before_loading(
    tiny_model: Path, arguments: Any, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llamacli.engine.engine.Engine", None)
    with pytest.raises((UsageError, TemplateError), match=named):
        Llama(tiny_model, **arguments)


@pytest.mark.parametrize("seed", [-1, 0xFFFFFFFF, None])
def test_seeds_that_are_drawn(tiny_model: Path, seed: int | None) -> None:
    with Llama(tiny_model, n_ctx=256, n_threads=1, seed=seed) as llm:
        texts = {llm("Hello", max_tokens=16, temperature=2)["choices"][0]["text"] for _ in range(3)}
        assert len(texts) > 1
        texts = {llm("Hello", max_tokens=16, temperature=2, seed=seed)["choices"][0]["text"] for _ in range(3)}
        assert len(texts) > 1


def test_what_was_loaded_is_freed_when_making_fails(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = []

    class Failing(Engine):
        def sampling_defaults(self, base: SamplingParams) -> SamplingParams:
            engines.append(self)
            raise ZeroDivisionError

    monkeypatch.setattr("llamacli.engine.engine.Engine", Failing)
    with pytest.raises(ZeroDivisionError):
        Llama(tiny_model)
    with pytest.raises(ClosedError):
        engines[0].model.require_open()


def test_other_objects_are_named(llm: Llama, tiny_embedding_model: Path) -> None:
    with pytest.raises(UsageError, match="needs a SavedState, not bytes"):
        llm.load_state(b"x")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not int"):
        llm("Hello", grammar=5)
    with Llama(tiny_embedding_model, embedding=True, n_threads=1) as embedder:
        with pytest.raises(UsageError, match=r"input\[1\] is 5"):
            embedder.create_embedding(["a", 5])  # type: ignore[list-item]
        for given in (5, None, b"text"):
            with pytest.raises(UsageError, match="input is of type"):
                embedder.embed(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("schema", ["{", "5", "[" * 100_000, 5])
def test_what_is_no_schema(schema: Any) -> None:
    with pytest.raises(SchemaError):
        LlamaGrammar.from_json_schema(schema)


def test_a_dropped_llama_is_freed(tiny_model: Path) -> None:
    llm = Llama(tiny_model, n_ctx=256, n_threads=1)
    llm("Hello", max_tokens=1)
    llm.eval([77])
    model, manual = llm.engine.model, llm.manual()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del llm
        gc.collect()
    assert any("dropped without close" in str(warning.message) for warning in caught)
    with pytest.raises(ClosedError):
        model.require_open()
    with pytest.raises(ClosedError):
        manual.logits()


@pytest.mark.filterwarnings("ignore:a Llama of:ResourceWarning")
def test_what_is_under_way_keeps_a_llama(tiny_model: Path) -> None:
    made = Llama(tiny_model, n_ctx=256, n_threads=1).generate([77], temp=0)
    chunks = Llama(tiny_model, n_ctx=256, n_threads=1)("Hello", max_tokens=4, stream=True)
    gc.collect()
    assert [next(made) for _ in range(3)]
    assert len(list(chunks)) > 1
    del made, chunks
    gc.collect()  # warns here, where it is expected


def test_a_closed_llama_is_dropped_in_silence(tiny_model: Path) -> None:
    llm = Llama(tiny_model, n_ctx=256, n_threads=1)
    llm.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del llm
        gc.collect()
    assert not [warning for warning in caught if warning.category is ResourceWarning]
