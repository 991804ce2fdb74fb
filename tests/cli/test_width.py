"""What commands print for people fits terminals of 40, 60, 80 and 200 columns, without a word broken by the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from fakes import FakeEngine, invoke
from measured_rows import MACHINE, ORIGIN, make_row, noisy, save
from talk import Talker, talk

from llamacli.bench.compare.compare import Outcome
from llamacli.bench.measure.setup import Setup, TrialSize
from llamacli.bench.roofline.ceiling import Ceiling, Rate
from llamacli.bench.roofline.model import RooflineJob, RooflineReport, generation_need, make_limit, prompt_need
from llamacli.bench.tune.params import Gain, SettingChoice, TuneReport
from llamacli.bench.tune.session import TuneOutcome
from llamacli.bench.tune.type_speeds import TypeReport, TypeSpeed
from llamacli.cli.framework.console import Terminals
from llamacli.cli.framework.context import find_model
from llamacli.engine.fit.report import DeviceShare, FitReport
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.gguf.analysis.cost import ModelCost, Product
from llamacli.render.bench.roofline import format_roofline
from llamacli.render.bench.table import Table
from llamacli.render.bench.tune import format_tuning
from llamacli.render.info.reports import format_fit
from llamacli.render.models import format_models
from llamacli.render.text import columns
from llamacli.store.benchmarks.history import History
from llamacli.store.models.inventory import StoredModel

WIDTHS = [40, 60, 80, 200]
TERMINAL = Terminals(stdin=True, stdout=True, stderr=True)
NO_LIMIT = 100_000


def check(shown: Callable[[int], str], width: int, *, raw: str = "") -> None:
    """Check the lines at `width`, and their words against those of an endless line. Lines in `raw` stay as they are."""
    words = set(figureless(shown(NO_LIMIT)).split())
    lines = [line for line in plain(shown(width)).splitlines() if line.strip() not in raw or not line.strip()]
    assert lines
    for line in lines:
        others, _, last = line.rpartition(" ")
        is_whole = columns(last) > width // 2 and columns(others) <= width  # a path or a key
        assert columns(line) <= width or is_whole, line
        assert {word for word in figureless(line).split() if "…" not in word} <= words, line


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[mAJK]", "", text)


def figureless(text: str) -> str:
    """Return the text with every number as 0: times and free memory change."""
    return re.sub(r"\d[\d.,]*", "0", plain(text))


def command(*arguments: str | Path, **options) -> Callable[[int], str]:
    """Return what a command line prints at a width, on both streams. A dumb terminal has no progress bars."""
    given = {"find_model": find_model, "environ": {"TERM": "dumb"}, **options}

    def shown(width: int) -> str:
        result = invoke(*map(str, arguments), terminals=TERMINAL, width=width, **given)
        return result.stdout + result.stderr

    return shown


@pytest.fixture(scope="module")
def odd_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with long values."""
    change = {
        "general.name": "A model with a name that is much longer than the forty columns of a narrow terminal",
        "general.license": "a licence that has a long name as well, and two commas, too",
        "llama.rope.scaling.type": "yarn",
        "a.rather.long.key.that.nobody.has.ever.seen.before": "value " * 30,
        "general.sampling.temp": 0.25,
    }
    return tiny.tiny_model(tmp_path_factory.mktemp("models") / "odd.gguf", change=change)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", [(), ("--tensors",), ("--metadata",), ("--check",), ("--fit",), ("--system",)])
def test_info(odd_model: Path, tiny_model: Path, view: tuple[str, ...], width: int) -> None:
    check(command("info", odd_model, *view), width)
    check(command("info", tiny_model, *view), width)


@pytest.mark.parametrize("width", WIDTHS)
def test_info_of_two_models(odd_model: Path, tiny_model: Path, tiny_base_model: Path, width: int) -> None:
    check(command("info", tiny_model, "--diff", odd_model), width)
    check(command("info", tiny_model, "--diff", tiny_base_model), width)


def test_info_is_not_wrapped_for_a_program(odd_model: Path) -> None:
    for view in ((), ("--check",), ("--fit",)):
        arguments = ("info", str(odd_model), *view)
        narrow, wide = (invoke(*arguments, width=width, find_model=find_model).stdout for width in (40, NO_LIMIT))
        assert [figureless(line).split() for line in narrow.splitlines()] == [
            figureless(line).split() for line in wide.splitlines()
        ]


@pytest.mark.parametrize("width", WIDTHS)
def test_raw_values_are_never_wrapped(odd_model: Path, width: int) -> None:
    for view in (("--template",), ("--key", "general.name")):
        shown = command("info", odd_model, *view)
        assert shown(width) == shown(NO_LIMIT)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_memory_of_several_devices(width: int) -> None:
    gpu = DeviceShare(
        name="CUDA0", description="GPU", host=False, free=80 << 30, weights=40 << 30, cache=1 << 30, compute=1 << 28
    )
    host = replace(gpu, name="CPU", host=True, program=1 << 26, weights=0, free=None)
    report = FitReport(
        devices=(gpu, replace(gpu, name="Vulkan with a long name"), host), context=131072, sequences=4, trained_context=8192,
        layers=32, gpu_layers=-1, largest_context=8192, settings={}, is_estimate=False,
    )  # fmt: skip
    flags = ["-c", "4096", "-ngl", "all", "-ctk", "q8_0", "-ctv", "q8_0"]
    check(lambda columns: format_fit(report, flags, width=columns), width)


@pytest.mark.parametrize("width", WIDTHS)
def test_models(tiny_model: Path, width: int) -> None:
    names = ("hf:someone/A-Model-With-A-Long-Name-GGUF:Q4_K_M", "demo", "模型")
    found = [
        StoredModel(
            reference=name, path=tiny_model, size=4_113_874_752, quantization="Q4_K_M", home="llamacli", aliases=("small", "my")
        )
        for name in names
    ]
    check(lambda columns: format_models(found, default=tiny_model, width=columns), width)
    check(command("models", "list"), width)
    check(command("models", "show", tiny_model), width)


@pytest.mark.parametrize("width", WIDTHS)
def test_config(isolated_home: Path, width: int) -> None:
    values = "".join(f"{line}\n" for line in invoke("config", "show", "--all").stdout.splitlines() if not line.startswith("#"))
    check(command("config", "show", "--all", "--origin"), width, raw=values)
    check(command("config", "show", "--all"), width, raw=values)
    file = isolated_home / ".config" / "llamacli" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[defaults]\ntemp = 'warm'\nctx-sise = 5\n")
    check(command("config", "check"), width)


GRAMMAR = """root ::= greeting " " (name | "world" | "everybody that has come to hear it today")? [.!?] number{1,3}
greeting ::= "hello" | "good morning" | "good evening and welcome to this long evening"
name ::= [A-Z] [a-z]*
number ::= [0-9] [0-9]? | [0-9]+
unused ::= "this rule has a name, and nobody needs it at all, but it is long, so that the line does not fit a narrow screen"
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_grammar(tmp_path: Path, width: int) -> None:
    file = tmp_path / "g.gbnf"
    file.write_text(GRAMMAR)
    excerpts = "\n".join(line.strip() for line in GRAMMAR.splitlines())
    check(command("grammar", "check", file), width)
    check(command("grammar", "check", file, "good morning to you all, and to whom it may concern"), width)
    check(command("grammar", "check", file, "good morning everybody that has come to hear it tod"), width, raw=excerpts)
    check(command("grammar", "explain", file), width)
    check(command("grammar", "allowed", file, "good "), width)
    check(command("grammar", "allowed", file, "good day to everybody that has come to hear it today"), width)
    for line in command("grammar", "lint", file)(width).splitlines():
        assert columns(line) <= width or "/g.gbnf:" in line
    file.write_text(
        GRAMMAR + 'broken ::= "this rule begins well, but then it refers to something odd" ] "and goes on and on"\n'
    )
    for line in command("grammar", "check", file)(width).splitlines():
        assert columns(line) <= width or "/g.gbnf:" in line


@pytest.mark.parametrize("width", WIDTHS)
def test_tokenize(tiny_model: Path, tiny_base_model: Path, tmp_path: Path, width: int) -> None:
    text = "Some words, 中文, and a word that is longlonglonglonglonglonglonglonglong"
    for line in plain(command("tokenize", text, "-m", tiny_model)(width)).splitlines():
        assert columns(line) <= width
    files = [tmp_path / name for name in ("a-file-with-a-rather-long-name-that-needs-room.py", "b.md", "c")]
    for file in files:
        file.write_text(text)
    for options in (("--count", "--by-extension"), ("--compare", str(tiny_base_model)), ()):
        for line in plain(command("tokenize", "--input", tmp_path, "-m", tiny_model, *options)(width)).splitlines():
            assert columns(line) <= width or "/" in line


@pytest.mark.parametrize("width", WIDTHS)
def test_embed(tiny_embedding_model: Path, tmp_path: Path, width: int) -> None:
    file = tmp_path / "texts"
    file.write_text("a text with many words in it that is longer than forty columns, and than sixty, too\n" * 3 + "中文\n")
    model = ("-m", str(tiny_embedding_model))
    for arguments in (
        ("embed", "--input", str(file), *model),
        ("embed", "--similarity", "--input", str(file), *model),
        ("embed", "--query", "many words", "--input", str(file), *model),
    ):
        shown = plain(command(*arguments)(width))
        assert shown
        assert all(columns(line) <= width for line in shown.splitlines()), shown


# --- benchmarks ----------------------------------------------------------------------------------------------------------

LONG = "llamacli could not load the model, because another process holds all of the memory of the only device"


@pytest.fixture
def stored_runs() -> None:
    with closing(History()) as opened:
        for speed in (370.0, 420.0):
            rows = [make_row(noisy(speed, n), n_prompt=64 * n) for n in (1, 2)] + [make_row((), error=LONG, n_gen=16)]
            save(opened, *rows, origin=ORIGIN | {"machine": ORIGIN["machine"] | {"cpu": "AMD EPYC 7B13 64-Core Processor"}})


@pytest.mark.usefixtures("stored_runs")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "arguments",
    [("history",), ("show", "1"), ("compare", "1", "2"), ("show", "1", "--plot", "-"), ("show", "1", "-o", "table")],
)
def test_stored_benchmarks(arguments: tuple[str, ...], width: int) -> None:
    for line in plain(command("bench", *arguments)(width)).splitlines():
        assert columns(line) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_a_benchmark(width: int) -> None:
    machine = replace(MACHINE, cpu_info="AMD EPYC 7B13 64-Core Processor", gpu_info="NVIDIA H200", backends="CPU,CUDA")
    rows = [
        make_row(noisy(370, 1), machine=machine, n_prompt=64, n_threads=threads, model=f"/m/{'long-' * 9}{threads}.gguf")
        for threads in (1, 2)
    ]
    rows += [make_row((), machine=machine, error=LONG), make_row(noisy(3, 1), machine=machine, error=LONG)]

    def shown(columns: int) -> str:
        table = Table(rows, width=columns)
        return "".join(map(table.row, rows))

    check(shown, width)


def outcome(ratio: float) -> Outcome:
    return Outcome(
        ratio=ratio, interval=(ratio - 0.1, ratio + 0.1), verdict="faster" if ratio > 1 else "no difference shown",
        method="pairs", level=0.95, units=(5, 5),
    )  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
def test_tuning(width: int) -> None:
    speeds = {"prompt": 1234.5, "generation": 98.7}
    types = [
        TypeSpeed(
            type=name, size=98_362_432, bits=4.5, speeds=speeds, is_repacked=True,
            outcomes={"prompt": outcome(2.5), "generation": outcome(1.0)},
        )
        for name in ("Q4_1", "Q4_0", "IQ4_NL")
    ]  # fmt: skip
    note = "limited by the time that is left for this setting"
    choices = (
        SettingChoice(name="threads", before=4, after=2, tried=(1, 2, 3, 4, 6, 8, 12, 16)),
        SettingChoice(name="cache-type-k", before="f16", after="f16", tried=("f16", "q8_0"), note=note, parameters=("budget",)),
    )
    start = Setup(model=ModelParams(), context=ContextParams(threads=4, threads_batch=4))
    best = replace(start, context=replace(start.context, threads=2))
    gain = Gain(before=1000.0, after=1100.0, outcome=outcome(1.1))
    report = TuneReport(
        start=start, best=best, choices=choices, prompt=gain, generation=None, overall=gain, seconds=1.0, interrupted=True
    )
    tuned = TuneOutcome(
        model="a-model-with-a-long-name.gguf", job=TrialSize(n_prompt=512, n_gen=128, depth=0),
        size=TrialSize(n_prompt=64, n_gen=16, depth=0), report=report,
        speeds=speeds, types=TypeReport(own=types[0], others=tuple(types[1:]), better=tuple(types[1:])), warnings=(),
        seconds=1.0,
    )  # fmt: skip

    def shown(columns: int) -> str:
        return format_tuning(
            tuned, source="hf:user/repo", path=Path("m.gguf"), width=columns, paint=lambda text, _: f"\x1b[1m{text}\x1b[0m",
            flag=lambda name: f"--{name}",
        )  # fmt: skip

    commands = "".join(line for line in plain(shown(NO_LIMIT)).splitlines(keepends=True) if line.startswith("  llamacli"))
    assert commands in plain(shown(width))
    check(shown, width, raw=commands)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_roofline(width: int) -> None:
    products = (Product("Q4_1", 1000, 1000, 2, 500), Product("Q8_0", 1000, 500, 1, 1000, is_output=True))
    cost = ModelCost(products, 0, (), 0)
    rates = {name: Rate(type=name, prompt=4e9, single=2e9, buffer="CPU_REPACK") for name in ("Q4_1", "Q8_0", "Q4_0")}
    ceilings = tuple(
        Ceiling(device="CPU", description="AMD EPYC 7B13 64-Core Processor", threads=threads, reading=1e9, rates=rates)
        for threads in (1, 2, 4)
    )
    job = RooflineJob(n_prompt=100, n_gen=10, depth=0, ubatch=50, cache_type_k="f16", cache_type_v="f16")
    prompt, generation = (
        make_limit(name, need, {"CPU": ceilings[0]}, {"CPU": 1.0}, speed, None, is_cached=False)
        for name, need, speed in (("pp100", prompt_need(cost, job), 800.0), ("tg10", generation_need(cost, job), 300.0))
    )
    report = RooflineReport(
        model="a-model-with-a-long-name.gguf", ceilings=ceilings, cost=cost, shares={"CPU": 0.5, "CUDA0": 0.5}, prompt=prompt,
        generation=generation, is_cached=False, faster=("Q4_0", 2.5), warnings=(),
    )  # fmt: skip
    check(lambda columns: format_roofline(report, width=columns, paint=lambda text, _: f"\x1b[1m{text}\x1b[0m"), width)


# --- run and chat --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "x", "--stats"),
        ("run", "--tmp", "1", "x"),
        ("run", "x", "--system", "a", "b", "c"),
        ("run", "x", "-f", "https://example.com/a/document"),
        ("run", "x", "--chat-template", "nonsense"),
        ("bench", "-p", "x"),
        ("--help",),
        ("run", "--help"),
    ],
)
def test_messages_and_help(arguments: tuple[str, ...], width: int) -> None:
    def shown(columns: int) -> str:
        result = invoke(*arguments, terminals=TERMINAL, width=columns, engine=FakeEngine(cached=3))
        return (result.stdout + result.stderr).partition("Examples:")[0]

    check(shown, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_chat(width: int) -> None:
    question = "What is the reason that the sky is blue in the day, and red in the evening, but black in the night?"

    def shown(columns: int) -> str:
        engine = Talker(answers=[("An answer ", "with several words in it, so that it is long. ") * 3] * 3)
        keys = f"{question}\r/branches\r/sessions\r/stats\r/help\r/nonsense\r/context\r/set temp warm\r/tools\r"
        result = talk(keys, "-m", "demo", engine=engine, width=columns, environ={"NO_COLOR": "1"})
        return result.stdout + result.stderr

    check(shown, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_parameters_of_chat(width: int) -> None:
    lines = talk("/params\r", "-m", "demo", width=width, environ={"NO_COLOR": "1"}).stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  samplers = "))
    assert all(columns(line) < width for line in lines)
    if width < 80:
        assert lines[start].endswith(",")
        assert lines[start + 1].startswith("    ")
