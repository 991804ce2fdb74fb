"""llama-bench's lists and ranges, and how options become tests."""

from __future__ import annotations

import dataclasses

import pytest

from llamacli.cli.bench import ranges as values
from llamacli.cli.bench.combinations import expand
from llamacli.cli.bench.options import SetupOptions, WorkOptions
from llamacli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512", (512,)),
        ("512,1024", (512, 1024)),
        ("1-4", (1, 2, 3, 4)),
        ("128-512+128", (128, 256, 384, 512)),
        ("1-8*2", (1, 2, 4, 8)),
        ("1-10*3,0,7-8", (1, 3, 9, 0, 7, 8)),
        ("5-5", (5,)),
        ("-1", (-1,)),
    ],
)
def test_ranges(text, expected):
    assert values.parse_ranges(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1,", "1-", "1-4*1", "1-4+0", "0-4*2", "4-1", "1-4-8", "1;2", "1-100000000"])
def test_invalid_ranges(text):
    with pytest.raises(ValueError, match=r"range|number"):
        values.parse_ranges(text)


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (values.parse_layers, "all,0,10-30+10", (-1, 0, 10, 20, 30)),
        (values.parse_switches, "0,1", (False, True)),
        (values.parse_flash, "on,0,-1", ("on", "off", "auto")),
        (values.parse_types, "f16,q8_0", ("f16", "q8_0")),
        (values.parse_splits, "none,row", ("none", "row")),
        (values.parse_load_modes, "mmap+mlock,dio", ("mmap+mlock", "dio")),
        (values.parse_devices, "auto,CUDA0/CUDA1,none", ((), ("CUDA0", "CUDA1"), ("none",))),
        (values.parse_shares, "3/1,1;1", ((3.0, 1.0), (1.0, 1.0))),
        (values.parse_pair, "512,128", (512, 128)),
        (values.parse_models, "a.gguf,b.gguf", ("a.gguf", "b.gguf")),
    ],
)
def test_other_lists(parse, text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("parse", "text"),
    [(values.parse_flash, "2"), (values.parse_types, "q3_k"), (values.parse_pair, "512"), (values.parse_switches, "2")],
)
def test_invalid_lists(parse, text):
    with pytest.raises(ValueError, match=text):
        parse(text)


def test_a_file_may_have_a_comma_in_its_name(tmp_path):
    file = tmp_path / "a,b.gguf"
    file.touch()
    assert values.parse_models(str(file)) == (str(file),)


@pytest.mark.parametrize("text", ["", ",", "a.gguf,", "a.gguf,,b.gguf"])
def test_a_model_needs_a_name(text):
    with pytest.raises(ValueError, match="name of a model is empty"):
        values.parse_models(text)


@pytest.mark.parametrize(
    ("text", "why"), [("1-1000000", "more than 100,000 values"), ("1-8+0", "never ends"), ("0-8*2", "never ends")]
)
def test_ranges_that_are_too_long(text, why):
    with pytest.raises(ValueError, match=why):
        values.parse_ranges(text)


def test_too_many_tests_are_refused_before_they_are_made():
    with pytest.raises(UsageError, match="10,000,000,000 tests"):
        expand(WorkOptions(n_prompt=(tuple(range(1, 100_001)),), n_gen=((0,),)), SetupOptions(threads=((1,) * 100_000,)), ["m"])


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (SetupOptions(ubatch_size=((2**31,),)), "n_ubatch must be from 1 to 2147483647"),
        (SetupOptions(batch_size=((2**31,),)), "n_batch must be from 1 to 2147483647"),
        (SetupOptions(ubatch_size=((0,),)), "n_ubatch must be from 1 to 2147483647"),
        (SetupOptions(main_gpu=((-1,),)), "main_gpu must be from 0 to 2147483647"),
        (SetupOptions(main_gpu=((2**31,),)), "main_gpu must be from 0 to 2147483647"),
        (SetupOptions(gpu_layers=((2**31,),)), "gpu_layers must be from -1 to 2147483647"),
    ],
)
def test_a_value_out_of_range_names_its_parameter_and_bounds(setup, message):
    with pytest.raises(UsageError, match=message) as caught:
        expand(WorkOptions(), setup, ["m"])
    assert caught.value.parameter == message.partition(" ")[0]


def names(work: WorkOptions, setup: SetupOptions | None = None) -> list[str]:
    return [test.name for test in expand(work, setup or SetupOptions(), ["m.gguf"])]


def test_the_default_is_that_of_llama_bench():
    (prompt, answer) = expand(WorkOptions(), SetupOptions(), ["m.gguf"])
    assert (prompt.name, answer.name, prompt.n_batch, prompt.n_ubatch, prompt.poll) == ("pp512", "tg128", 2048, 512, 50)
    assert (prompt.type_k, prompt.n_gpu_layers, prompt.flash_attn, prompt.load_mode) == ("f16", -1, "auto", "auto")


def test_tests_come_in_the_order_of_llama_bench():
    work = WorkOptions(n_prompt=((8, 16), (0,)), n_gen=((4,),), prompt_gen=((8, 4),), n_depth=((0, 32),))
    assert names(work) == ["pp8", "pp16", "tg4", "pp8+tg4", "pp8 @ d32", "pp16 @ d32", "tg4 @ d32", "pp8+tg4 @ d32"]
    setup = SetupOptions(threads=((1, 2),), batch_size=((32, 64),))
    tests = expand(WorkOptions(n_prompt=((8,),), n_gen=((0,),)), setup, ["a", "b"])
    assert [(test.model, test.n_batch, test.n_threads) for test in tests] == [
        (model, batch, threads) for model in "ab" for batch in (32, 64) for threads in (1, 2)
    ]


def test_latency_pairs_prompts_with_answers():
    work = WorkOptions(n_prompt=((8, 16),), n_gen=((4, 0),), latency=True, end_to_end=True)
    assert names(work) == ["pp8+tg4 latency", "pp16+tg4 latency", "pp8+tg4 end to end", "pp16+tg4 end to end"]


def test_sizes_of_images_are_an_axis():
    work = WorkOptions(n_prompt=((8, 0),), n_gen=((4, 2),), image=(("64x64", "512x384"), ("1x1",)))
    sizes = ["64x64", "512x384", "1x1"]
    assert names(work) == [f"{size}+pp8+tg{n_gen}" for n_gen in (4, 2) for size in sizes]
    tests = expand(dataclasses.replace(work, end_to_end=True), SetupOptions(), ["a", "b"], {"a": "p", "b": "q"})
    assert [(test.model, test.image, test.mmproj) for test in tests] == [
        *([("a", "", "")] * 2), *[("a", size, "p") for _ in range(2) for size in sizes],
        *([("b", "", "")] * 2), *[("b", size, "q") for _ in range(2) for size in sizes],
    ]  # fmt: skip


def test_drafts_and_the_prompt_cache_are_axes():
    setup = SetupOptions(draft=(values.parse_drafts("off,auto,4"),), prompt_cache=((False, True),))
    tests = expand(WorkOptions(n_prompt=((8,),), n_gen=((4,),), end_to_end=True), setup, ["m"])
    assert [(test.draft, test.prompt_cache) for test in tests] == [(n, on) for n in (0, None, 4) for on in (False, True)]


def test_mmap_is_a_load_mode():
    tests = expand(WorkOptions(n_gen=((0,),)), SetupOptions(mmap=((False, True),)), ["m"])
    assert [test.load_mode for test in tests] == ["none", "mmap"]


@pytest.mark.parametrize(
    ("work", "setup"),
    [
        (WorkOptions(n_prompt=((0,),), n_gen=((0,),)), SetupOptions()),
        (WorkOptions(n_prompt=((-1,),)), SetupOptions()),
        (WorkOptions(end_to_end=True, n_depth=((8,),)), SetupOptions()),
        (WorkOptions(), SetupOptions(draft=((None,),))),
        (WorkOptions(end_to_end=True, latency=True), SetupOptions(prompt_cache=((True,),))),
        (WorkOptions(end_to_end=True, parallel=((2,),)), SetupOptions()),
        (WorkOptions(end_to_end=True), SetupOptions(poll=((0,),))),
        (WorkOptions(image=(("8x8",),), n_depth=((8,),)), SetupOptions()),
        (WorkOptions(image=(("8x8",),), n_gen=((0,),)), SetupOptions()),
        (WorkOptions(image=(("0x8",),)), SetupOptions()),
        (WorkOptions(), SetupOptions(threads=((0,),))),
        (WorkOptions(), SetupOptions(poll=((101,),))),
        (WorkOptions(parallel=((300,),)), SetupOptions()),
        (WorkOptions(parallel=((8,),)), SetupOptions(batch_size=((4,),))),
        (WorkOptions(), SetupOptions(gpu_layers=((-2,),))),
    ],
)
def test_invalid_combinations_are_refused_before_measuring(work, setup):
    with pytest.raises(UsageError):
        expand(work, setup, ["m.gguf"])
