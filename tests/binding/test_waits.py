"""How the threads of a graph wait for each other: whatever they do meanwhile, all of them arrive, and the bits are the same."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llamacli.binding.library import library
from llamacli.binding.location import library_name
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model

TOKENS = [5 + 7 * i % 200 for i in range(24)]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Let threads wait afterwards as before."""
    before = library().llamacli_follows_load()
    yield
    library().llamacli_follow_load(before)


def bits(model: Model, threads: int, rounds: int) -> list[bytes]:
    """The logits of a prompt and of single tokens, the same in each round."""
    found = []
    params = ContextParams(n_ctx=64, threads=threads, flash_attention="off")  # llama.cpp's divides keys among threads
    with Context(model, params) as context:
        for _ in range(rounds):
            context.clear()
            context.decode(TOKENS, list(range(24)), [0] * 24, [0] * 23 + [1])
            found.append(bytes(context.logits(23)))
            for place in range(24, 32):
                context.decode([7], [place], [0], [1])
                found.append(bytes(context.logits(0)))
    return found


@pytest.mark.parametrize("follows", [True, False])
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_any_number_of_threads_computes_the_same_bits(tiny_model: Path, threads: int, *, follows: bool) -> None:
    library().llamacli_follow_load(follows)
    with Model(tiny_model) as model:
        assert bits(model, threads, 2) == bits(model, 1, 2)


def test_teams_that_compute_at_once_wait_for_their_own_threads(tiny_model: Path) -> None:
    library().llamacli_follow_load(True)
    with Model(tiny_model) as model, ThreadPoolExecutor(3) as pool:
        alone = bits(model, 1, 6)
        assert list(pool.map(lambda threads: bits(model, threads, 6), (2, 3, 4))) == [alone] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="the barrier is built for Linux")
def test_the_barrier_is_built_and_holds_nobody_up_outside_a_graph() -> None:
    build = library().build
    if not build["compiler"].startswith("GNU") or build["dynamic_backends"] or "OPENMP = 1" not in build["system_info"]:
        pytest.skip("another compiler, one library for each kind of processor, or no OpenMP")
    barrier = ctypes.CDLL(str(library().folder / library_name("ggml-cpu")))["__wrap_GOMP_barrier"]
    barrier.restype = None
    barrier()
