"""Weights stay as they are in the file if our kernels multiply all of them; else llama.cpp repacks what it can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llamacli.binding.library import library
from llamacli.engine.params import ModelParams
from llamacli.engine.runtime.loading import as_loaded
from llamacli.gguf.check.loadable import check_loadable
from llamacli.gguf.header import Header
from llamacli.gguf.parser.header import read_header
from llamacli.gguf.source import FileSource
from tests.support import tiny


@pytest.fixture
def header(tiny_model: Path) -> Header:
    return check_loadable(tiny_model)


def with_type(header: Header, name: str) -> Header:
    first, *others = header.tensors
    return replace(header, tensors=(replace(first, type=replace(first.type, name=name)), *others))


def test_ours_need_no_repacking(header: Header) -> None:
    needed = not library().llamacli_kernels_need_no_repacking()
    for kind in ("Q4_0", "Q4_K", "IQ4_NL", "F32"):
        assert as_loaded(ModelParams(), with_type(header, kind)).repack == needed


@pytest.mark.parametrize("kind", ["Q2_K", "MXFP4"])
def test_types_that_only_llama_cpp_repacks(header: Header, kind: str) -> None:
    assert as_loaded(ModelParams(), with_type(header, kind)).repack


def test_upstream_and_mixtures_of_experts_repack(header: Header, tmp_path: Path) -> None:
    assert as_loaded(ModelParams(kernels="upstream"), header).repack
    with FileSource(tiny.tiny_model(tmp_path / "moe.gguf", change={"llama.expert_count": 4})) as source:
        mixture = read_header(source)
    assert as_loaded(ModelParams(), mixture).repack


def test_no_repacking_stays_so(header: Header) -> None:
    for kernels in ("own", "upstream"):
        assert not as_loaded(ModelParams(repack=False, kernels=kernels), header).repack
