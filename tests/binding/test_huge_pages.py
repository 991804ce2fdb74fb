"""Huge pages for weights: which memory qualifies, and that what it holds does not change."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from llamacli.binding import huge_pages
from llamacli.binding.huge_pages import full_regions, settle_in_huge_pages
from llamacli.engine.params import ModelParams
from llamacli.engine.runtime import loading
from llamacli.engine.runtime.model import Model

MIB = 1 << 20


def region(begin: int, size: int, what: str = "rw-p 00000000 00:00 0", rss: int | None = None) -> list[str]:
    kilobytes = (size if rss is None else rss) // 1024
    return [
        f"{begin:x}-{begin + size:x} {what} ",
        f"Size:   {size // 1024} kB",
        f"Rss:    {kilobytes} kB",
        "VmFlags: rd wr mr mw",
    ]


def test_only_large_private_memory_that_is_full_is_moved() -> None:
    lines = [
        *region(1 << 30, 8 * MIB),
        *region(2 << 30, 2 * MIB),
        *region(3 << 30, 8 * MIB, rss=4 * MIB),
        *region(4 << 30, 8 * MIB, "rw-p 00000000 00:00 0 [heap]"),
        *region(5 << 30, 8 * MIB, "r--p 00000000 fe:00 339490 /models/some model.gguf"),
        *region(6 << 30, 8 * MIB, "rw-s 00000000 00:00 0"),
        *region(7 << 30, 16 * MIB),
    ]
    assert list(full_regions(lines)) == [(1 << 30, 8 * MIB), (7 << 30, 16 * MIB)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_what_memory_holds_stays() -> None:
    text = bytes(range(256)) * (8 * MIB // 256)
    with mmap.mmap(-1, 8 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[:] = text
        thread = settle_in_huge_pages()
        assert thread is not None
        thread.join()
        assert memory[:] == text


def test_a_system_without_smaps_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "_SMAPS", tmp_path / "missing")
    assert settle_in_huge_pages() is None


def test_small_models_are_read_and_others_mapped(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Model(tiny_model, ModelParams(huge_pages=True, gpu_layers=0)) as model:
        assert not model.params.mmap
    with Model(tiny_model, ModelParams(huge_pages=False, gpu_layers=0)) as model:
        assert model.params.mmap
    monkeypatch.setattr(loading, "_MOST_IN_HUGE_PAGES", tiny_model.stat().st_size - 1)
    with Model(tiny_model, ModelParams(huge_pages=True, gpu_layers=0)) as model:
        assert model.params.mmap
