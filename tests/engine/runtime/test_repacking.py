"""Weights stay as they are in the file if our kernels compute; else llama.cpp repacks what it can."""

from __future__ import annotations

from llamacli.binding.library import library
from llamacli.engine.params import ModelParams
from llamacli.engine.runtime.loading import as_loaded


def test_ours_need_no_repacking() -> None:
    assert as_loaded(ModelParams()).repack == (not library().llamacli_kernels_need_no_repacking())


def test_upstream_repacks() -> None:
    assert as_loaded(ModelParams(kernels="upstream")).repack


def test_no_repacking_stays_so() -> None:
    for kernels in ("own", "upstream"):
        assert not as_loaded(ModelParams(repack=False, kernels=kernels)).repack
