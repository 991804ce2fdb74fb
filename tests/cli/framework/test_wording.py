"""The engine's parameters in the words of the command line."""

from __future__ import annotations

from dataclasses import fields

import pytest
from fakes import FakeEngine, invoke

from llamacli.cli.framework.spellings.wording import flag_of, word, word_parameters
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import CapacityError, UsageError

FLAGS = {"n_ctx": "-c", "cache_type_k": "-ctk", "threads": "-t", "loras": "--lora"}

WITHOUT_FLAG = {
    "vocabulary_only", "load_mode", "no_host", "huge_pages", "n_seq_max", "kv_unified", "invariant", "numa", "embeddings",
    "all_outputs", "max_ms", "min_indent", "pooling", "sampling", "logprobs", "overrides",
    "cache_prompt", "score_prompt", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow",
    "no_perf", "n_outputs", "burst_seconds", "prompt_seconds", "rollback",
}  # fmt: skip
"""What commands decide by themselves, or with options that only they have; or what only the Python API sets."""


def test_every_parameter_that_can_be_set_has_a_flag() -> None:
    for params in (ModelParams, ContextParams, GenerationParams, SamplingParams):
        for one in fields(params):
            assert flag_of(one.name).startswith("-") == (one.name not in WITHOUT_FLAG), one.name
    assert (flag_of("n_ctx"), flag_of("flash_attention"), flag_of("temperature")) == ("-c", "-fa", "--temp")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n_ctx must be from 0 to 9", "-c must be from 0 to 9"),
        ("use n_ctx=768 or more", "use -c 768 or more"),
        ("a smaller n_ctx, or cache_type_k=q8_0, or threads=4", "a smaller -c, or -ctk q8_0, or -t 4"),
        ("2 threads need a larger n_ctx", "2 threads need a larger -c"),
        ("the file n_ctx.gguf or a/n_ctx needs n_ctx.", "the file n_ctx.gguf or a/n_ctx needs -c."),
        ("max_n_ctx and n_ctx_train and x.n_ctx", "max_n_ctx and n_ctx_train and x.n_ctx"),
    ],
)
def test_parameters_become_flags(text: str, expected: str) -> None:
    assert word(text, FLAGS, "n_ctx") == expected


def test_only_an_error_about_a_parameter_is_worded() -> None:
    plain = UsageError("the file n_ctx.txt holds n_ctx")
    word_parameters(plain, FLAGS)
    assert plain.message == "the file n_ctx.txt holds n_ctx"
    about = UsageError("threads must be from 1", hint="or n_ctx=5", parameter="threads")
    word_parameters(about, FLAGS)
    assert str(about) == "-t must be from 1 (or -c 5)"


def test_a_command_words_the_errors_of_the_engine() -> None:
    error = CapacityError("the prompt does not fit", hint="use n_ctx=768 or more", parameter="n_ctx")
    result = invoke("run", "x", engine=FakeEngine(error=error))
    assert (result.status, result.stderr) == (4, "llamacli: error: the prompt does not fit (use -c 768 or more)\n")
