"""Charts of benchmarks: the choice of the chart, and its drawing as SVG, as PNG and in the terminal."""

from __future__ import annotations

import io
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from fakes import invoke
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_rows import ORIGIN, make_row, noisy

from llamacli.bench.compare.runs import subject_of
from llamacli.render.bench.bars import format_bars
from llamacli.render.bench.chart import make_chart
from llamacli.render.bench.plot import WIDTH, draw_chart
from llamacli.store.benchmarks.history import History, NewRow

SVG = "{http://www.w3.org/2000/svg}"


def grid() -> list[dict[str, Any]]:
    return [
        make_row(noisy(speed, seed), flash_attn=flash, **size)
        for seed, flash in enumerate(("off", "on"))
        for speed, size in ((370, {"n_prompt": 512}), (98, {"n_gen": 128}), (240, {"n_prompt": 512, "n_gen": 128}))
    ] + [make_row((), error="needs too much memory", n_prompt=512, n_depth=100_000)]


def sweep(column: str, *values: int, **more: Any) -> list[dict[str, Any]]:
    return [make_row(noisy(100 + value % 100, value), **{"n_gen": 16, column: value, **more}) for value in values]


def texts(svg: bytes) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


# --- the choice of the chart ---------------------------------------------------------------------------------------------


def test_a_grid_has_bars_and_a_panel_for_each_kind_of_test() -> None:
    chart = make_chart(grid())
    assert [panel.title for panel in chart.panels] == ["prompt processing", "generation", "prompt and generation"]
    assert all(panel.axis is None for panel in chart.panels)
    assert [one.name for one in chart.panels[0].series] == ["pp512, fa off", "pp512, fa on"]
    assert chart.failed == ("pp512 @ d100000",)
    assert (chart.title, chart.subtitle) == ("llama 256M Q4_1", "AMD EPYC, llama.cpp 0c1e57098")


@pytest.mark.parametrize(
    ("column", "axis"),
    [
        ("n_depth", "tokens in the context"), ("n_threads", "threads"), ("n_parallel", "parallel sequences"),
        ("n_batch", "tokens in a batch"), ("n_ubatch", "tokens in a micro-batch"), ("n_gen", "tokens generated"),
    ],
)  # fmt: skip
def test_a_sweep_has_a_line(column: str, axis: str) -> None:
    (panel,) = make_chart(sweep(column, 1, 4, 2, 8)).panels
    assert panel.axis == axis
    (line,) = panel.series
    assert [point.x for point in line.points] == [1, 2, 4, 8]
    assert all(point.low <= point.value <= point.high for point in line.points if point.low and point.high)
    assert line.name == ("tg" if column == "n_gen" else "tg16")


def test_other_varying_settings_give_more_lines() -> None:
    rows = sweep("n_threads", 1, 2, 4) + sweep("n_threads", 1, 2, 4, type_k="q8_0") + sweep("n_threads", 1, 2, 4, n_depth=512)
    (panel,) = make_chart(rows).panels
    assert [one.name for one in panel.series] == ["tg16, type_k f16", "tg16, type_k q8_0", "tg16 @ d512, type_k f16"]


def test_too_few_or_scattered_values_give_bars() -> None:
    assert make_chart(sweep("n_threads", 1, 2)).panels[0].axis is None
    scattered = [*sweep("n_threads", 1, 2, 3), *sweep("n_threads", 4, type_k="q8_0")]
    assert make_chart(scattered).panels[0].axis is None
    assert make_chart(sweep("n_threads", 1, 2, 3) * 2).panels[0].axis is None


def test_several_models_are_named() -> None:
    other = [row | {"model_type": "llama 256M Q8_0"} for row in sweep("n_threads", 1, 2, 4)]
    (panel,) = make_chart(sweep("n_threads", 1, 2, 4) + other).panels
    assert [one.name for one in panel.series] == ["llama 256M Q4_1, tg16", "llama 256M Q8_0, tg16"]


# --- SVG -----------------------------------------------------------------------------------------------------------------


def test_svg_of_bars_shows_every_test_with_its_interval() -> None:
    svg = draw_chart(make_chart(grid()), "svg")
    shown = texts(svg)
    for text in ("llama 256M Q4_1", "pp512, fa off", "tg128, fa on", "pp512+tg128, fa on", "failed: pp512 @ d100000"):
        assert text in shown
    root = ET.fromstring(svg)
    bars = [box for box in root.iter(f"{SVG}rect") if box.get("fill") == "#0072b2"]
    whiskers = [line for line in root.iter(f"{SVG}line") if line.get("stroke-width") == "1.5"]
    assert len(bars) == 6
    assert len(whiskers) == 3 * 6
    assert float(bars[0].get("width", 0)) == pytest.approx(float(bars[1].get("width", 0)), rel=0.1)


def test_svg_of_lines_has_axes_a_legend_and_shapes() -> None:
    rows = sweep("n_threads", 1, 2, 4, 8) + sweep("n_threads", 1, 2, 4, 8, type_k="q8_0")
    svg = draw_chart(make_chart(rows), "svg")
    assert {"1", "2", "4", "8", "threads", "tg16, type_k f16", "tg16, type_k q8_0"} <= set(texts(svg))
    root = ET.fromstring(svg)
    assert len(list(root.iter(f"{SVG}polyline"))) == 2
    assert len(list(root.iter(f"{SVG}polygon"))) == 8 + 2


def test_everything_lies_inside() -> None:
    rows = sweep("n_depth", 0, 512, 16384, 131072) + grid() + [make_row(noisy(5, 1), model="/m/" + "long" * 60, facts=None)]
    root = ET.fromstring(draw_chart(make_chart(rows), "svg"))
    height = float(root.get("height", 0))
    for element in root.iter():
        for name in ("x", "x1", "x2"):
            assert 0 <= float(element.get(name, 0)) <= WIDTH
        for name in ("y", "y1", "y2"):
            assert 0 <= float(element.get(name, 0)) <= height
        if element.tag == f"{SVG}text":
            assert len(element.text or "") * int(element.get("font-size", 0)) * 0.5 < WIDTH


def test_names_are_escaped_in_the_document() -> None:
    row = make_row(noisy(5, 1), type_k="f16") | {
        "model_type": '<script>alert("&")</script>\0\x1b\ud800\ufffe',
        "cpu_info": "]]>",
    }
    assert '<script>alert("&")</script>' in texts(draw_chart(make_chart([row]), "svg"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=8), st.booleans())
def test_any_speed_can_be_drawn(values: list[float], swept: bool) -> None:
    rows = [
        make_row([value] * 3, n_gen=16, **({"n_threads": number + 1} if swept else {"n_depth": number}))
        for number, value in enumerate(values)
    ]
    root = ET.fromstring(draw_chart(make_chart(rows), "svg"))
    assert "nan" not in ET.tostring(root, "unicode")
    format_bars(make_chart(rows), width=40)


def test_nothing_to_draw() -> None:
    chart = make_chart([make_row((), error="out of memory")])
    assert texts(draw_chart(chart, "svg"))[-1] == "failed: tg16"
    assert format_bars(chart, width=80) == "failed: tg16\n"


# --- PNG -----------------------------------------------------------------------------------------------------------------


def test_png_has_twice_the_pixels_and_shows_something() -> None:
    image = pytest.importorskip("PIL.Image")
    chart = make_chart(grid())
    with image.open(io.BytesIO(draw_chart(chart, "png"))) as drawn:
        height = float(ET.fromstring(draw_chart(chart, "svg")).get("height", 0))
        assert drawn.size == (2 * WIDTH, 2 * height)
        colors = {color: count for count, color in drawn.convert("RGB").getcolors(1 << 20)}
        assert drawn.text["Title"] == "llama 256M Q4_1"
    assert colors[(0, 0x72, 0xB2)] > 50_000
    assert colors[(255, 255, 255)] > 500_000


def test_png_without_pillow_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    result = invoke("bench", "show", "1", "--plot", str(tmp_path / "chart.png"))
    assert result.status == 2
    assert result.stderr == "llamacli: error: PNG needs Pillow (pip install 'llamacli[plot]', or write an .svg)\n"


# --- in the terminal -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_bars_fit_the_width(width: int) -> None:
    for rows in (
        grid(),
        sweep("n_depth", 0, 512, 4096, 65536),
        sweep("n_threads", 1, 2, 4) + sweep("n_threads", 1, 2, 4, n_depth=9),
    ):
        lines = [line for line in format_bars(make_chart(rows), width=width).splitlines() if "█" in line]
        assert len(lines) == sum(1 for row in rows if row["samples_ts"])
        assert max(map(len, lines)) <= max(width, 30)


def test_bars_are_as_long_as_they_are_fast() -> None:
    rows = [make_row([speed] * 5, n_gen=size) for speed, size in ((100.0, 1), (50.0, 2))]
    first, second = (line.count("█") for line in format_bars(make_chart(rows), width=80).splitlines()[1:3])
    assert first == pytest.approx(2 * second, abs=1)


def test_bars_are_shaded_over_the_interval() -> None:
    row = make_row([80.0, 85.0, 100.0, 105.0, 110.0])
    assert "▒" in format_bars(make_chart([row]), width=80)


# --- commands ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored() -> str:
    with closing(History()) as history:
        rows = [NewRow(subject_of(row), row) for row in grid()]
        return str(history.save(rows, origin=ORIGIN, command="llamacli bench", options={}))


def test_show_draws_into_files(stored: str, tmp_path: Path) -> None:
    path = tmp_path / "chart.SVG"
    result = invoke("bench", "show", stored, "--plot", str(path))
    assert result.status == 0
    assert result.stderr == f"llamacli: wrote the chart to {path}\n"
    assert "pp512, fa off" in texts(path.read_bytes())


def test_show_draws_bars(stored: str) -> None:
    assert "█" in invoke("bench", "show", stored, "--plot", "-").stdout
    beside_json = invoke("bench", "show", stored, "--json", "--plot", "-")
    assert "█" in beside_json.stderr
    assert "█" not in beside_json.stdout


@pytest.mark.parametrize(
    ("plot", "reason"),
    [
        ("chart.jpg", "is not an .svg or .png file"),
        ("chart", "is not an .svg or .png file"),
        ("/nowhere/chart.svg", "folder /nowhere does not exist"),
        ("/proc/chart.svg", "cannot write /proc/chart.svg"),
    ],
)
def test_unwritable_charts_are_refused(stored: str, plot: str, reason: str) -> None:
    result = invoke("bench", "show", stored, "--plot", plot)
    assert result.status in (1, 2)
    assert reason in result.stderr
