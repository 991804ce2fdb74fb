"""`llamacli bench roofline`: the cost of tokens, the arithmetic of the limits, and measurements on a tiny model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from fakes import Result, invoke
from in_process import open_bench_in_process

from llamacli.bench.roofline import ceiling
from llamacli.bench.roofline import measure as roofline_run
from llamacli.bench.roofline import peaks as ceilings
from llamacli.bench.roofline.ceiling import Ceiling, Rate
from llamacli.bench.roofline.model import (
    Limit,
    Need,
    RooflineJob,
    RooflineReport,
    faster_type,
    generation_need,
    main_type,
    make_limit,
    prompt_need,
)
from llamacli.bench.roofline.peaks import cache_size, ggml_name
from llamacli.binding.library import library
from llamacli.binding.throughput import Products, read_memory
from llamacli.engine.params import Kernels
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.errors import MemoryFullError, ModelUnsupportedError, UsageError
from llamacli.gguf.analysis.cost import ModelCost, Product, read_cost
from llamacli.gguf.layout import TENSOR_TYPES
from llamacli.render.bench.advice import format_advice

CPU = "CPU"

# --- what a token costs: by the header ---------------------------------------------------------------------------------------


def write_model(path: Path, change: Mapping[str, Any] | None = None, extra: tuple[tiny.Tensor, ...] = (), **how: Any) -> Path:
    """The tiny model with more tensors and other metadata."""
    vocabulary = tiny.default_vocabulary()
    metadata = tiny.default_metadata(vocabulary) | dict(change or {})
    dropped = how.get("drop", ())
    tensors = [one for one in tiny.default_tensors(len(vocabulary.tokens)) if one.name not in dropped]
    path.write_bytes(tiny.gguf_bytes(metadata, [*tensors, *extra]))
    return path


VOCABULARY = len(tiny.default_vocabulary().tokens)
LAYER = 64 * 64 * 2 + 64 * 32 * 2 + 64 * 128 * 3
"""Elements of a layer's matrices: queries and output, keys and values, three of the feed-forward part."""

NORMS = (2 * 2 + 1) * 64


def test_weights_and_operations_of_a_token(tiny_model: Path) -> None:
    cost = read_cost(tiny_model)
    row = 4 * 64
    assert cost.weights == 4 * (2 * LAYER + VOCABULARY * 64 + NORMS) + row
    assert cost.operations(output=True) == {"F32": 2 * (2 * LAYER + VOCABULARY * 64)}
    assert cost.operations(output=False) == {"F32": 2 * 2 * LAYER}


def test_tied_embeddings_are_read_once_as_the_output(tmp_path: Path, tiny_model: Path) -> None:
    tied = read_cost(write_model(tmp_path / "tied.gguf", drop=("output.weight",)))
    assert tied == read_cost(tiny_model)


def test_the_cache_grows_by_the_token(tiny_model: Path) -> None:
    cost = read_cost(tiny_model)
    token = 2 * (2 * 16) * 2  # layers, two heads of 16, F16
    assert cost.cache(0) == 2 * token  # keys and values
    assert cost.cache(99) == 100 * 2 * token
    assert cost.cache(99, "q8_0", "f16") == 100 * (token + 2 * 34)
    assert cost.attention(99) == 100 * 2 * (2 * 4 * (16 + 16))


def test_a_window_bounds_what_is_read(tmp_path: Path) -> None:
    window = {"llama.attention.sliding_window": 8, "llama.attention.sliding_window_pattern": 2}
    cost = read_cost(write_model(tmp_path / "swa.gguf", window))
    assert [shape.window for shape in cost.layers] == [8, None]
    per_layer = 2 * 32 * 2
    assert cost.cache(99) == (8 + 100) * per_layer


def test_of_a_mixture_the_used_experts_are_read(tmp_path: Path) -> None:
    experts = tiny.Tensor("blk.0.ffn_up_exps.weight", (64, 16, 8), tiny.floats([0.5] * (64 * 16 * 8)))
    path = write_model(tmp_path / "moe.gguf", {"llama.expert_count": 8, "llama.expert_used_count": 2}, (experts,))
    plain = read_cost(write_model(tmp_path / "plain.gguf"))
    cost = read_cost(path)
    assert cost.weights - plain.weights == 4 * 64 * 16 * 2
    assert cost.operations(output=False)["F32"] - plain.operations(output=False)["F32"] == 2 * 64 * 16 * 2
    job = RooflineJob(n_prompt=512, n_gen=1, depth=0, ubatch=512, cache_type_k="f16", cache_type_v="f16")
    read = [need.bytes * 512 for need in (prompt_need(plain, job), prompt_need(cost, job))]
    assert read[1] - read[0] == pytest.approx(4 * 64 * 16 * 8)  # a micro-batch wants all of them


def test_layers_for_several_tokens_and_other_heads_are_ignored(tmp_path: Path) -> None:
    extra = (
        tiny.Tensor("blk.2.attn_q.weight", (64, 64), tiny.floats([0.5] * 4096)),
        tiny.Tensor("cls.weight", (64, 64), tiny.floats([0.5] * 4096)),
    )
    change = {"llama.block_count": 3, "llama.nextn_predict_layers": 1}
    cost = read_cost(write_model(tmp_path / "mtp.gguf", change, extra))
    assert cost.products == read_cost(write_model(tmp_path / "plain.gguf")).products


def test_a_model_that_does_not_generate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupportedError, match="decoder-only"):
        read_cost(write_model(tmp_path / "encoder.gguf", {"llama.attention.causal": False}))


@pytest.mark.demo
def test_the_demo_model_by_hand(demo_model: Path) -> None:
    """30 layers of 3,538,944 elements in Q4_1 (20 bytes for 32), the output in Q8_0 (34 bytes for 32), tied."""
    cost = read_cost(demo_model)
    layers, output = 30 * 3_538_944, 576 * 49_152
    assert cost.operations(output=True) == {"Q4_1": 2 * layers, "Q8_0": 2 * output}
    norms = 4 * 576 * 61
    assert cost.weights == layers * 20 // 32 + output * 34 // 32 + norms + 576 * 34 // 32
    assert cost.cache(511) == 512 * 30 * 2 * 192 * 2
    assert cost.attention(511) == 512 * 30 * 2 * 9 * (64 + 64)


# --- limits ------------------------------------------------------------------------------------------------------------------


def make_cost() -> ModelCost:
    """Two matrices of 1,000 by 1,000 and an output, with nothing to attend to."""
    products = (
        Product("Q4_1", 1000, 1000, 2, 500),
        Product("Q8_0", 1000, 500, 1, 1000, is_output=True),
    )
    return ModelCost(products, 0, (), 0)


def make_ceiling(reading: float = 1e9, **rates: tuple[float, float]) -> Ceiling:
    found = {name: Rate(type=name, prompt=prompt, single=single, buffer="CPU") for name, (prompt, single) in rates.items()}
    return Ceiling(device=CPU, description="a CPU", threads=2, reading=reading, rates=found)


JOB = RooflineJob(n_prompt=100, n_gen=10, depth=0, ubatch=50, cache_type_k="f16", cache_type_v="f16")
RATES = {"Q4_1": (4e9, 2e9), "Q8_0": (8e9, 4e9), "Q4_0": (10e9, 3e9)}


def make_limits(ceiling: Ceiling, *, prompt: float = 800.0, generation: float = 300.0, is_cached: bool = False) -> list[Limit]:
    cost = make_cost()
    return [
        make_limit(name, need, {CPU: ceiling}, {CPU: 1.0}, measured, None, is_cached=is_cached)
        for name, need, measured in (
            ("pp100", prompt_need(cost, JOB), prompt),
            ("tg10", generation_need(cost, JOB), generation),
        )
    ]


def make_report(prompt: Limit, generation: Limit, ceiling: Ceiling) -> RooflineReport:
    cost = make_cost()
    return RooflineReport(
        model="model.gguf",
        ceilings=(ceiling,),
        cost=cost,
        shares={CPU: 1.0},
        prompt=prompt,
        generation=generation,
        is_cached=False,
        faster=faster_type(ceiling, main_type(cost)),
        warnings=(),
    )


def test_limits_by_hand() -> None:
    """Generation reads 1.5 MB (1.5 ms at 1 GB/s) and computes 4 M in Q4_1 (2 ms) and 1 M in Q8_0 (0.25 ms)."""
    prompt, generation = make_limits(make_ceiling(**RATES))
    assert generation.memory_seconds == pytest.approx(1.5e-3)
    assert generation.arithmetic_seconds == pytest.approx(2.25e-3)
    assert (generation.bound, generation.limit) == ("arithmetic", pytest.approx(1 / 2.25e-3))
    assert generation.share == pytest.approx(300 * 2.25e-3)
    # A prompt reads 1 MB for 50 tokens, and needs no output.
    assert prompt.memory_seconds == pytest.approx(1e-3 / 50)
    assert prompt.arithmetic_seconds == pytest.approx(4e6 / 4e9)
    assert prompt.share == pytest.approx(0.8)


def test_slow_memory_bounds_generation() -> None:
    _, generation = make_limits(make_ceiling(reading=0.5e9, **RATES))
    assert (generation.bound, generation.limit) == ("memory", pytest.approx(1 / 3e-3))


def test_cached_weights_are_not_read_from_memory() -> None:
    _, generation = make_limits(make_ceiling(reading=1e6, **RATES), is_cached=True)
    assert generation.bound == "arithmetic"


def test_devices_work_one_after_the_other() -> None:
    need = Need(bytes=1e6, operations={"Q4_1": 4e6}, attention=0.0)
    slow, fast = make_ceiling(reading=1e9, **RATES), make_ceiling(reading=10e9, Q4_1=(40e9, 20e9))
    limit = make_limit("tg1", need, {CPU: slow, "GPU": fast}, {CPU: 0.5, "GPU": 0.5}, 1.0, None, is_cached=False)
    assert limit.memory_seconds == pytest.approx(0.5e-3 + 0.05e-3)
    assert limit.arithmetic_seconds == pytest.approx(1e-3 + 0.1e-3)


def test_a_type_of_unknown_speed_counts_as_the_fastest() -> None:
    need = Need(bytes=0.0, operations={"IQ1_M": 4e9}, attention=0.0)
    limit = make_limit("pp1", need, {CPU: make_ceiling(**RATES)}, {CPU: 1.0}, 1.0, None, is_cached=False)
    assert limit.arithmetic_seconds == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("reading", "prompt", "generation", "rates", "expected"),
    [
        (0.5e9, 990.0, 320.0, {}, ["what memory allows: reading 1.4 MiB takes 3 ms", "Q4_0 products are 2.5 times as fast"]),
        (1e9, 990.0, 400.0, {}, ["the arithmetic units allow: more cores", "Q4_1 is the bottleneck"]),
        (1e9, 990.0, 100.0, {}, ["lost between many small steps", "Q4_1 is the bottleneck"]),
        (1e9, 990.0, 400.0, {"Q4_0": (4e9, 2e9), "Q8_0": (4e9, 4e9)}, ["more cores", "only a faster processor helps"]),
        (1e9, 400.0, 400.0, {"Q4_0": (4e9, 2e9), "Q8_0": (4e9, 4e9)}, ["more cores", "attention and waiting threads"]),
        (1e7, 400.0, 6.0, {}, ["what memory allows: reading 1.4 MiB takes 150 ms", "a larger micro-batch (-ub)"]),
    ],
)
def test_advice(
    reading: float, prompt: float, generation: float, rates: dict[str, tuple[float, float]], expected: list[str]
) -> None:
    ceiling = make_ceiling(reading=reading, **RATES | rates)
    limits = make_limits(ceiling, prompt=prompt, generation=generation)
    sentences = list(format_advice(make_report(*limits, ceiling)))
    assert len(sentences) == len(expected)
    for sentence, part in zip(sentences, expected, strict=True):
        assert part in sentence


def test_an_exceeded_limit_is_unknown() -> None:
    """Another program used one of two threads: 5,000 % of the limit is not a finding, and no reason for advice."""
    ceiling = make_ceiling(Q4_1=(4e9, 2e6), Q8_0=(8e9, 4e6))
    prompt, generation = make_limits(ceiling)
    assert generation.share > 50
    assert (prompt.is_known, generation.is_known) == (True, False)
    (sentence,) = format_advice(make_report(prompt, generation, ceiling))
    assert sentence.startswith("Prompts reach")


def test_figures_lost_with_more_threads_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceiling, "default_threads", lambda: 2)
    one = replace(make_ceiling(**RATES), threads=1)
    two = make_ceiling(reading=0.09e9, Q4_1=(0.39e9, 2e9), Q8_0=(8e9, 0.41e9))
    found = ceiling.without_lost(two, [one])
    assert found.lost == {"reading", "Q4_1 prompt"}
    prompt, generation = make_limits(found, prompt=1.0, generation=1.0)
    assert not prompt.is_known
    assert not generation.is_known
    assert make_limits(found, generation=1.0, is_cached=True)[1].is_known  # the rates of one token are whole
    assert not ceiling.without_lost(replace(two, threads=8), [one]).lost  # more threads than cores are slow in any case
    again = ceiling.without_lost(ceiling.faster_of(found, replace(make_ceiling(**RATES), threads=2)), [one])
    assert (again.lost, again.figures()) == (frozenset(), make_ceiling(**RATES).figures())


def test_only_a_type_of_about_the_same_quality_is_recommended() -> None:
    assert main_type(make_cost()) == "Q4_1"
    ceiling = make_ceiling(Q4_1=(4e9, 1.0), Q2_K=(40e9, 1.0), F32=(50e9, 1.0), Q8_0=(4.2e9, 1.0))
    assert faster_type(ceiling, "Q4_1") is None  # Q2_K is too coarse, F32 too large, Q8_0 hardly faster
    assert faster_type(make_ceiling(**RATES), "Q4_1") == ("Q4_0", pytest.approx(2.5))
    assert faster_type(make_ceiling(Q8_0=(1.0, 1.0)), "Q4_1") is None  # its own rate is not known


# --- measuring ---------------------------------------------------------------------------------------------------------------


def test_reading_reads_all_of_it() -> None:
    size, passes = read_memory(2, 4 << 20, 0.02, CancelFlag().handle)
    assert size == 4 << 20
    assert passes
    assert all(size * 1e12 > 4 << 20 and 0 < took < 10 for took in passes)


def test_too_much_memory_is_an_error() -> None:
    with pytest.raises(MemoryFullError):
        read_memory(1, 1 << 62, 0.01, CancelFlag().handle)


@pytest.mark.parametrize("name", ["F32", "F16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "IQ4_NL"])
@pytest.mark.parametrize("tokens", [1, 7])
def test_products_of_every_type(name: str, tokens: int) -> None:
    request = {"type": ggml_name(name), "columns": 256, "rows": 16, "count": 3}
    with Products(CPU, [request], tokens, repeat=2) as products:
        assert products.description["operations"] == 2 * 2 * 3 * 256 * 16 * tokens
        assert products.description["bytes"] == 2 * 3 * 16 * row_bytes(name)
        flag = CancelFlag()
        assert all(took > 0 for took in products.run(1, 0.01, flag.handle))
        flag.set()
        assert products.run(1, 0.01, flag.handle) == []
    products.close()


def row_bytes(name: str) -> int:
    """Bytes of a row of 256 elements."""
    packing = next(packing for packing in TENSOR_TYPES.values() if packing.name == name)
    return 256 // packing.block * packing.size


def test_products_of_a_mixture() -> None:
    request = {"type": "q8_0", "columns": 64, "rows": 32, "count": 1, "experts": 8, "used": 2}
    with Products(CPU, [request], 1) as products:
        assert products.description["operations"] == 2 * 64 * 32 * 2
        assert products.description["bytes"] == 68 * 32 * 2
        assert products.run(2, 0.0, CancelFlag().handle)


@pytest.mark.skipif(not library().llamacli_kernels_need_no_repacking(), reason="our kernels are not used here")
def test_products_of_our_kernels_are_not_repacked() -> None:
    request = {"type": "q4_K", "columns": 256, "rows": 64, "count": 1}
    for kernels, expected in (("own", "CPU"), ("upstream", "CPU_REPACK")):
        with Products(CPU, [request], 1, kernels=kernels) as products:
            assert products.description["buffers"] == {"q4_K": expected}


@pytest.mark.parametrize(
    ("device", "request_"),
    [
        ("nowhere", {"type": "f32", "columns": 8, "rows": 8, "count": 1}),
        (CPU, {"type": "f31", "columns": 8, "rows": 8, "count": 1}),
        (CPU, {"type": "q4_0", "columns": 33, "rows": 8, "count": 1}),
        (CPU, {"type": "f32", "columns": 8, "rows": 8, "count": 0}),
        (CPU, {"type": "f32", "columns": 8, "rows": 8, "count": 1, "experts": 2, "used": 3}),
        (CPU, {"type": "f32", "columns": 8, "rows": 8, "count": 1, "experts": 2}),
    ],
)
def test_impossible_products_are_refused(device: str, request_: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Products(device, [request_], 1)


def test_caches_of_the_last_level_are_added_up(tmp_path: Path) -> None:
    def cache(cpu: int, index: int, level: int, size: str, sharers: str) -> None:
        folder = tmp_path / f"cpu{cpu}/cache/index{index}"
        folder.mkdir(parents=True)
        for name, text in (("level", str(level)), ("size", size), ("shared_cpu_list", sharers)):
            (folder / name).write_text(f"{text}\n")

    assert cache_size(tmp_path) == ceilings._UNKNOWN_CACHE
    for cpu, sharers in ((0, "0-1"), (1, "0-1"), (2, "2-3"), (3, "2-3")):
        cache(cpu, 0, 1, "32K", str(cpu))
        cache(cpu, 3, 3, "16M", sharers)
    assert cache_size(tmp_path) == 32 << 20


# --- the command -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements of milliseconds on little memory, with arbitrary results."""
    monkeypatch.setattr("llamacli.bench.roofline.model.MOST_SHARE", math.inf)
    monkeypatch.setattr(ceiling, "LOST", 0.0)
    monkeypatch.setattr(ceilings, "READING_SECONDS", 0.01)
    monkeypatch.setattr(ceilings, "PRODUCT_SECONDS", 0.005)
    monkeypatch.setattr(ceilings, "_SIDE", 256)
    monkeypatch.setattr(ceilings, "_CACHED_SIDE", 256)
    monkeypatch.setattr(ceilings, "buffer_size", lambda: 1 << 20)
    monkeypatch.setattr(roofline_run, "REPETITIONS", 2)


def roofline(model: Path, *arguments: str, **how: Any) -> Result:
    return invoke(
        "bench",
        "roofline",
        "-m",
        str(model),
        "-p",
        "32",
        "-n",
        "4",
        "-t",
        "2",
        *arguments,
        open_bench=open_bench_in_process,
        **how,
    )


@pytest.mark.usefixtures("quick")
def test_the_command(tiny_model: Path) -> None:
    result = roofline(tiny_model)
    assert result.status == 0, result.stderr
    text = result.stdout
    for part in ("reading memory, GB/s", "products with 512 tokens", "1 thread", "2 threads", "pp32", "tg4", "limit set by"):
        assert part in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "\x1b" not in text
    assert "Generation reaches" in " ".join(text.split())


@pytest.mark.usefixtures("quick")
def test_the_document(tiny_model: Path) -> None:
    document = json.loads(roofline(tiny_model, "--json", "-d", "16").stdout)
    assert [one["threads"] for one in document["ceilings"]] == [1, 2]
    assert set(document["ceilings"][0]["types"]) == {"F32", "Q4_0", "Q8_0", "F16"}
    assert document["weights_bytes"] == read_cost(tiny_model).weights
    generation = document["generation"]
    assert generation["test"] == "tg4 @ d16"
    assert generation["bytes"] == read_cost(tiny_model).weights + read_cost(tiny_model).cache(16 + 1.5)
    assert generation["share"] == pytest.approx(generation["measured"] / generation["limit"])
    assert document["advice"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("times", [1, 2])
def test_lost_ceilings_are_measured_again(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The ceiling with two threads is a millionth of the real one, once or every time."""
    measured = []

    def measure(device: str, threads: int, types: Any, cancel: CancelFlag, kernels: Kernels) -> Ceiling:
        assert kernels == "own"
        measured.append(threads)
        speed = 1.0 if threads > 1 and measured.count(threads) <= times else 1e15
        rates = {name: Rate(type=name, prompt=speed, single=speed, buffer="CPU") for name in types}
        return Ceiling(device=device, description="a CPU", threads=threads, reading=speed, rates=rates, kernels=kernels)

    monkeypatch.setattr("llamacli.bench.roofline.model.MOST_SHARE", 1.1)
    monkeypatch.setattr(roofline_run, "measure_ceiling", measure)
    monkeypatch.setattr(roofline_run, "cache_size", lambda: 1)
    result = roofline(tiny_model)
    text = " ".join(result.stdout.split())
    assert measured == [1, 2, 2]
    assert (result.status, text.count("not measured: machine busy"), "reach" in text.partition("limit set by")[2]) == (
        (0, 0, True) if times == 1 else (0, 2, False)
    )
    assert ("the limit could not be measured" in result.stderr) == (times == 2)
    if times == 2:
        measured.clear()
        generation = json.loads(roofline(tiny_model, "--json").stdout)["generation"]
        assert (generation["limit"], generation["share"], generation["bound"]) == (None, None, None)
        assert generation["measured"] > 0


@pytest.mark.usefixtures("quick")
def test_an_embedding_model_is_refused(tmp_path: Path) -> None:
    result = roofline(write_model(tmp_path / "encoder.gguf", {"llama.attention.causal": False}))
    assert (result.status, result.stdout) == (3, "")
    assert "decoder-only" in result.stderr


def test_a_prompt_larger_than_the_memory_is_refused(tiny_model: Path) -> None:
    result = roofline(tiny_model, "-p", "2000000000")
    assert (result.status, result.stdout) == (4, "")
    assert "a context of 2000000004 tokens does not fit in memory" in result.stderr


def test_wrong_numbers_are_refused(tiny_model: Path) -> None:
    result = invoke("bench", "roofline", "-m", str(tiny_model), "-p", "0")
    assert result.status == 2
    assert "-p and -n must be at least 1" in result.stderr
