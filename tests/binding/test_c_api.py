"""The low-level module: C functions by their C names, on pointers and on objects that stand for them."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llamacli import Llama, llama_cpp
from llamacli.binding import abi_check, c_api, c_stub, former_functions, llama_h
from llamacli.errors import ClosedError

low = llama_cpp.llama_cpp
ROOT = Path(__file__).parents[2]
TREE = ROOT / "vendor/llama.cpp"


def test_every_function_of_the_header_is_offered() -> None:
    header = re.sub(r"//[^\n]*", "", (TREE / "include/llama.h").read_text())
    declared = set(re.findall(r"\b(llama_\w+)\s*\([^*]", header))
    functions = {name for name in declared if re.search(rf"LLAMA_API[^;]*\b{name}\s*\(", header)}
    assert len(functions) > 250
    assert functions <= set(c_api.function_names())
    for name in c_api.function_names():
        assert callable(getattr(low, name))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int32_t n_p_eval;", "int64_t n_p_eval;"),
        ("bool sorted;", ""),
        ("typedef void (*llama_sampler_i_reset)(", "typedef bool (*llama_sampler_i_reset)("),
        ("size_t llama_state_get_size(", "int32_t llama_state_get_size("),
    ],
)
def test_a_wrong_declaration_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    for name in ("TYPEDEFS", "STRUCTS", "FUNCTIONS"):
        monkeypatch.setattr(llama_h, name, getattr(llama_h, name).replace(old, new))
    path = tmp_path / "check.c"
    path.write_text(abi_check.generate())
    includes = [
        f"-I{TREE / 'include'}",
        f"-I{TREE / 'ggml/include'}",
        *(f"-I{ROOT / 'llamacli/binding' / room}" for room in ("shim", "kernels")),
    ]
    flags = ["-std=c11", "-fsyntax-only", "-pedantic-errors", "-Werror=missing-field-initializers"]
    compiler = shutil.which("cc") or "clang"
    result = subprocess.run([compiler, *flags, *includes, str(path)], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "error" in result.stderr


def test_a_wrong_constant_fails_the_build(tmp_path: Path) -> None:
    assert "_Static_assert((int64_t) LLAMA_SESSION_VERSION == 10" in abi_check.generate()


def test_the_stub_is_current() -> None:
    stub = ROOT / "llamacli/llama_cpp/llama_cpp.pyi"
    assert stub.read_text() == c_stub.write_stub(), f"run python -m llamacli.binding.c_stub {stub.relative_to(ROOT)}"


def test_a_generation_loop(tiny_model: Path) -> None:
    low.llama_backend_init()
    params = low.llama_model_default_params()
    model = low.llama_load_model_from_file(str(tiny_model).encode(), params)
    settings = low.llama_context_default_params()
    settings.n_ctx = 64
    context = low.llama_new_context_with_model(model, settings)
    tokens = (low.llama_token * 64)()
    count = low.llama_tokenize(model, b"Hello", 5, tokens, 64, True, True)
    chain = low.llama_sampler_chain_init(low.llama_sampler_chain_default_params())
    low.llama_sampler_chain_add(chain, low.llama_sampler_init_greedy())
    batch, found = low.llama_batch_get_one(tokens, count), []
    for _ in range(4):
        assert low.llama_decode(context, batch) == 0
        found.append(low.llama_sampler_sample(chain, context, -1))
        batch = low.llama_batch_get_one((low.llama_token * 1)(found[-1]), 1)
    buffer = ctypes.create_string_buffer(64)
    assert low.llama_token_to_piece(low.llama_model_get_vocab(model), found[0], buffer, 64, 0, False) >= 0
    with Llama(tiny_model, n_ctx=64) as llm:
        wanted = llm.generate(llm.tokenize(b"Hello", special=True), temp=0)
        assert found == [next(wanted) for _ in range(4)]
    low.llama_sampler_free(chain)
    low.llama_free(context)
    low.llama_free_model(model)


def test_results_are_those_of_c(tiny_model: Path) -> None:
    assert low.llama_model_load_from_file(b"/no/such/file", low.llama_model_default_params()) is None
    assert low.llama_supports_gpu_offload() in (True, False)
    assert low.LLAMA_DEFAULT_SEED == 0xFFFFFFFF
    assert low.LLAMA_MAX_DEVICES >= 1
    with Llama(tiny_model, n_ctx=64) as llm:
        empty = low.llama_batch_init(4, 0, 1)
        assert low.llama_decode(llm.ctx, empty) != 0, "a status, not an exception"
        low.llama_batch_free(empty)


def test_objects_stand_for_pointers_until_they_are_closed(tiny_model: Path) -> None:
    llm = Llama(tiny_model, n_ctx=64)
    model, context = llm.model, llm.ctx
    assert low.llama_n_vocab(model) == low.llama_vocab_n_tokens(model) == llm.n_vocab() == model.n_vocab()
    assert low.llama_model_n_embd(model) == model.n_embd() == llm.n_embd()
    assert low.llama_n_ctx(context) >= context.n_ctx() == 64
    text, tokens = b"Hi there", (low.llama_token * 16)()
    count = low.llama_tokenize(model, text, len(text), tokens, 16, True, False)
    assert list(tokens[:count]) == llm.tokenize(text) == model.tokenize(text)
    assert model.detokenize(model.tokenize(text, add_bos=False)) == text
    assert low.llama_get_memory(context)
    assert "LlamaModel" in repr(model)
    for name, argument in (("llama_free_model", model), ("llama_free", context)):
        with pytest.raises(ctypes.ArgumentError, match="owns"):
            getattr(low, name)(argument)
    with pytest.raises(ctypes.ArgumentError):
        low.llama_n_ctx(model)
    llm.close()
    for call in (lambda: low.llama_n_vocab(model), lambda: low.llama_n_ctx(context), model.desc):
        with pytest.raises((ctypes.ArgumentError, ClosedError), match="closed"):
            call()


def test_pointers_are_addresses_too(tiny_model: Path) -> None:
    """As those of llama-cpp-python are, for libraries that hand them on."""
    with Llama(tiny_model, n_ctx=64) as llm:
        vocabulary = low.llama_model_get_vocab(llm.model)
        assert low.llama_vocab_n_tokens(int(vocabulary)) == llm.n_vocab()
    assert ctypes.cast(low._lib.llama_tokenize, ctypes.c_void_p).value
    assert int(low.llama_vocab_p()) == 0


def test_former_functions_are_todays(tiny_model: Path) -> None:
    assert set(former_functions.FORMER_FUNCTIONS) <= set(low.__all__)
    with Llama(tiny_model, n_ctx=64) as llm:
        with pytest.warns(DeprecationWarning, match="use llama_set_adapter_cvec"):
            assert low.llama_apply_adapter_cvec(llm.ctx, None, 0, llm.n_embd(), 0, 0) == 0
        with pytest.warns(DeprecationWarning, match="use llama_set_adapters_lora"), pytest.raises(TypeError):
            low.llama_set_adapter_lora(llm.ctx, "no adapter", 1.0)


def test_callbacks_and_structures() -> None:
    seen: list[bytes] = []
    callback = low.llama_log_callback(lambda level, text, data: seen.append(text))
    assert callback is not None
    override = low.llama_model_kv_override()
    override.value.val_i64 = 7
    assert override.val_i64 == 7
    candidates = (low.llama_token_data * 2)((1, 0.5, 0.0), (2, 1.5, 0.0))
    array = low.llama_token_data_array(candidates, 2, -1, False)
    greedy = low.llama_sampler_init_greedy()
    low.llama_sampler_apply(greedy, ctypes.byref(array))
    assert array.data[array.selected].id == 2
    low.llama_sampler_free(greedy)


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="llama_no_such_function"):
        _ = low.llama_no_such_function
    assert {"llama_decode", "LLAMA_TOKEN_NULL", "llama_batch", "llama_model_p"} <= set(dir(low))
    namespace: dict[str, object] = {}
    exec("from llamacli.llama_cpp.llama_cpp import *", namespace)
    assert "llama_tokenize" in namespace
