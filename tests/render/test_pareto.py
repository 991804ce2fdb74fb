"""Speed against quality: what is on the front, which figure is drawn, and the drawing."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from measured_rows import make_row, noisy

from llamacli.render.bench.pareto import _scale, draw_quality, format_quality_points, make_quality_chart

SVG = "{http://www.w3.org/2000/svg}"


def row(threads: int, speed: float, column: str = "perplexity", loss: float = 10.0) -> dict[str, Any]:
    made = make_row(noisy(speed, threads, deviation=0.001), n_prompt=512, n_threads=threads, workload="quality")
    return made | {"quality": {"kind": "text"}, column: loss, f"{column}_low": loss * 0.9, f"{column}_high": loss * 1.1}


def front(*rows: dict[str, Any]) -> list[str]:
    return [one.name.rpartition(" ")[2] for one in make_quality_chart(rows).points if one.on_front]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1, 100, 10), (2, 200, 9)], ["2"]),
        ([(1, 100, 9), (2, 200, 10)], ["1", "2"]),
        ([(1, 100, 9), (2, 200, 10), (3, 150, 11)], ["1", "2"]),
    ],
)
def test_the_front_has_what_nothing_beats_in_both(points, expected) -> None:
    assert front(*(row(threads, speed, loss=loss) for threads, speed, loss in points)) == expected


def test_the_figure_is_one_that_all_rows_have() -> None:
    diverging = [row(1, 100, "kld", 0.1) | {"perplexity": 9.0}, row(2, 90, "kld", 0.2) | {"perplexity": 8.0}]
    assert make_quality_chart(diverging).figure == "KL divergence, nats"
    assert make_quality_chart([diverging[0], row(2, 90)]).figure == "perplexity"
    (point,) = make_quality_chart([row(1, 100, "accuracy", 0.8)]).points
    assert point.loss == pytest.approx((0.2, 0.12, 0.28))


def test_a_failed_row_is_named_and_not_drawn() -> None:
    failed = make_row((), error="no", n_prompt=512, workload="quality")
    chart = make_quality_chart([row(1, 100), failed])
    assert [len(chart.points), chart.about.failed] == [1, ("ppl512",)]
    assert "failed: ppl512" in draw_quality(chart, "svg").decode()


def test_drawings_have_every_name_and_stay_inside() -> None:
    chart = make_quality_chart([row(threads, 50.0 + 7 * threads, loss=10.0 + threads) for threads in range(1, 9)])
    root = ET.fromstring(draw_quality(chart, "svg"))
    words = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert sum("threads" in text for text in words) == 8
    for element in root.iter(f"{SVG}text"):
        assert 0 <= float(element.attrib["x"]) <= 860
        assert 0 <= float(element.attrib["y"]) <= 540
    assert draw_quality(chart, "png")[:4] == b"\x89PNG"
    listed = format_quality_points(chart, width=80)
    assert max(map(len, listed.splitlines())) <= 80
    assert len(listed.splitlines()) == 10


def test_nothing_to_draw_is_said() -> None:
    assert format_quality_points(make_quality_chart([]), width=80) == "Nothing to draw.\n"


@pytest.mark.parametrize("values", [[5.0], [0.0], [1e-6, 2e-6], [1.0, 1e6], [3.0, 3.0]])
def test_scales_have_round_steps_inside(values) -> None:
    scale = _scale(values, 0, 100)
    assert all(0 <= scale.at(value) <= 100 for value in (*values, *scale.steps))
    assert 2 <= len(scale.steps) <= 8
