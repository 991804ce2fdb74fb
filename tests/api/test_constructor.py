"""The arguments of `Llama`: each does what it says, and those without a meaning say so."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamacli import Llama
from llamacli.api.tokenizer import BaseLlamaTokenizer
from llamacli.errors import LlamacliError, ModelNotFoundError, UsageError


def made(model: Path, **arguments: Any) -> Llama:
    return Llama(model, **{"n_ctx": 128, "n_threads": 1, **arguments})


def logits(model: Path, **arguments: Any) -> np.ndarray:
    with made(model, **arguments) as llm:
        llm.eval([77, 78, 79, 80, 81])
        return llm.logits()


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ({"rope_scaling_type": 2}, "rope_scaling_type", 2),
        ({"rope_scaling_type": "linear"}, "rope_scaling_type", 1),
        ({"yarn_ext_factor": 0.5}, "yarn_ext_factor", 0.5),
        ({"yarn_attn_factor": 2}, "yarn_attn_factor", 2.0),
        ({"yarn_beta_fast": 16}, "yarn_beta_fast", 16.0),
        ({"yarn_beta_slow": 2}, "yarn_beta_slow", 2.0),
        ({"yarn_orig_ctx": 64}, "yarn_orig_ctx", 64),
        ({"op_offload": False}, "op_offload", False),
        ({"swa_full": True}, "swa_full", True),
        ({"no_perf": False}, "no_perf", False),
        ({"type_k": 0}, "type_k", 0),
        ({"n_threads": 0}, "n_batch", 128),
        ({"flash_attn": True}, "flash_attn_type", 1),
    ],
)
def test_context_parameters(tiny_model: Path, arguments: dict[str, Any], field: str, value: object) -> None:
    with made(tiny_model, **arguments) as llm:
        assert getattr(llm.context_params, field) == value
        assert llm("Hi", max_tokens=1)["usage"]["completion_tokens"] <= 1


def test_model_parameters(tiny_model: Path) -> None:
    with made(tiny_model, use_mmap=False, main_gpu=0, use_mlock=False) as llm:
        assert llm.model_params.load_mode == 0
        assert not llm.model_params.vocab_only


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ({"n_batch": 100}, "n_batch", 100),
        ({"n_batch": 500}, "n_batch", 128),
        ({"n_threads": 2}, "n_threads", 2),
        ({"n_threads": 1, "n_threads_batch": 2}, "n_threads_batch", 2),
        ({"n_threads": 2}, "n_threads_batch", 2),
        ({"last_n_tokens_size": 3}, "last_n_tokens_size", 3),
        ({"kv_overrides": {"general.name": "other"}}, "kv_overrides", {"general.name": "other"}),
        ({}, "kv_overrides", {}),
        ({"tensor_split": [1, 2]}, "tensor_split", [1, 2]),
        ({}, "numa", 0),
        ({}, "lora_path", None),
        ({}, "lora_scale", 1.0),
        ({"verbose": False}, "verbose", False),
        ({"spm_infill": True}, "spm_infill", True),
    ],
)
def test_attributes(tiny_model: Path, arguments: dict[str, Any], name: str, value: object) -> None:
    with made(tiny_model, **arguments) as llm:
        assert getattr(llm, name) == value


def test_parameters_reach_the_computation(tiny_model: Path) -> None:
    usual = logits(tiny_model)
    for changed in ({"rope_freq_scale": 0.25}, {"kv_overrides": {"llama.rope.freq_base": 500.0}}):
        assert not np.array_equal(logits(tiny_model, **changed), usual)


def test_overrides_of_each_kind(tiny_model: Path) -> None:
    changes = {"tokenizer.ggml.add_bos_token": False, "general.name": "other", "llama.context_length": 96}
    with made(tiny_model, kv_overrides=changes) as llm:
        assert llm.model.n_ctx_train() == 96
        assert llm.tokenize(b"a") == llm.tokenize(b"a", add_bos=False)
    for wrong in ({"": 1}, {"a": "x" * 128}, {"a": 2**70}, {"a": [1]}):
        with pytest.raises(UsageError):
            made(tiny_model, kv_overrides=wrong)


def test_only_the_vocabulary(tiny_model: Path) -> None:
    with made(tiny_model, vocab_only=True) as llm:
        assert llm.detokenize(llm.tokenize(b"Hello", add_bos=False)) == b"Hello"
        with pytest.raises(LlamacliError):
            llm("Hello", max_tokens=1)


@pytest.mark.parametrize("name", ["n_parts", "f16_kv", "lora_base"])
def test_arguments_without_a_meaning(tiny_model: Path, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=name):
        made(tiny_model, **{name: 1}).close()


def test_sampling_arguments_without_a_meaning(tiny_model: Path) -> None:
    with made(tiny_model) as llm:
        with pytest.warns(DeprecationWarning, match="tfs_z") as seen:
            llm("Hi", max_tokens=1, tfs_z=0.5)
        with pytest.warns(DeprecationWarning, match="tfs_z") as chat:
            llm.create_chat_completion([{"role": "user", "content": "a"}], max_tokens=1, tfs_z=0.5)
        assert (seen[0].filename, chat[0].filename) == (__file__, __file__)
        llm("Hi", max_tokens=1, tfs_z=1.0)
        llm.eval([77])
        with pytest.warns(DeprecationWarning, match="penalize_nl"):
            llm.sample(penalize_nl=False)


def test_positions_are_llama_cpp_pythons(tiny_model: Path) -> None:
    with made(tiny_model) as llm:
        whole = llm("Hi", None, 4, 0.0, 0.9, 0.05, 1.0, 1, True, ["zzz"], 0.0, 0.0, 1.0, 40, False, 3)
        assert whole["choices"][0]["text"].startswith("Hi")
        assert len(whole["choices"][0]["logprobs"]["tokens"]) >= 4
        answer = llm.create_chat_completion([{"role": "user", "content": "a"}], None, None, None, None, 0.0, 0.9, 40)
        assert answer["choices"]
        llm.eval([77])
        assert llm.sample(40, 0.9, 0.05, 1.0, 0.0) == llm.sample(temp=0)


def test_a_tokenizer_of_ones_own(tiny_model: Path) -> None:
    class Letters(BaseLlamaTokenizer):
        def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
            return [77] * len(text)

        def detokenize(self, tokens: Any, prev_tokens: Any = None, special: bool = False) -> bytes:
            return b"x" * len(tokens)

    with made(tiny_model, tokenizer=Letters()) as llm:
        assert llm.tokenize(b"abc") == [77, 77, 77]
        assert llm.detokenize([1, 2]) == b"xx"
        assert llm("abcd", max_tokens=1)["usage"]["prompt_tokens"] == 4
        assert llm.tokenizer_.tokenize(b"ab") == [77, 77]
        assert llm.tokenizer().encode("Hi") == llm.model.tokenize(b"Hi", special=True)


def test_seeds_make_a_reproducible_series(tiny_model: Path) -> None:
    def texts(**arguments: Any) -> list[str]:
        with made(tiny_model, **arguments) as llm:
            return [llm("Hello", max_tokens=6, temperature=2.0)["choices"][0]["text"] for _ in range(3)]

    first = texts(seed=7)
    assert first == texts(seed=7)
    assert len(set(first)) > 1
    with made(tiny_model, seed=7) as llm:
        state = llm.save_state()
        assert state.seed == 7
        before = llm("Hello", max_tokens=6, temperature=2.0)["choices"][0]["text"]
        llm.load_state(state)
        assert llm("Hello", max_tokens=6, temperature=2.0)["choices"][0]["text"] == before
        llm.set_seed(3)
        assert llm("Hi", max_tokens=4, temperature=2, seed=3) is not None


def test_names_of_models(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, isolated_home: Path) -> None:
    settings = isolated_home / ".config" / "llamacli" / "settings.toml"
    monkeypatch.setattr("llamacli.store.files.paths.settings_file", lambda: settings)
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[aliases]\ntiny = "{tiny_model}"\n')
    with Llama("tiny", n_ctx=64, n_threads=1) as llm:
        assert llm.model_path == "tiny"
    for wrong, kind in (("no-such-model", ModelNotFoundError), ("/no/such/file.gguf", FileNotFoundError), (5, UsageError)):
        with pytest.raises(kind):
            Llama(wrong, n_ctx=64)


def test_copies_load_again(tiny_model: Path) -> None:
    with made(tiny_model, seed=4, chat_format="chatml") as llm:
        wanted = llm("Hello", max_tokens=5, temperature=0)["choices"][0]["text"]
        for again in (pickle.loads(pickle.dumps(llm)), copy.copy(llm), copy.deepcopy(llm)):
            with again:
                assert (again.n_ctx(), again.chat_format) == (128, "chatml")
                assert again("Hello", max_tokens=5, temperature=0)["choices"][0]["text"] == wanted


def test_verbose_is_quiet_again(tiny_model: Path) -> None:
    logger = logging.getLogger("llamacli")
    made(tiny_model, verbose=True).close()
    assert logger.isEnabledFor(logging.INFO)
    made(tiny_model, verbose=False).close()
    assert not logger.isEnabledFor(logging.INFO)


def test_nothing_is_printed(tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with made(tiny_model, n_gpu_layers=99, use_mlock=False, verbose=False) as llm:
        llm("Hello", max_tokens=2)
    assert capfd.readouterr() == ("", "")
