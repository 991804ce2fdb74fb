"""Caches of evaluated prompts: in memory, in files, and a caller's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from llamacli import BaseLlamaCache, Llama, LlamaDiskCache, LlamaRAMCache, SavedState
from llamacli.engine.runtime.state_file import State

TEXT = "Once upon a time there was a very long prompt that came back again and again."


def made(model: Path) -> Llama:
    return Llama(model, n_ctx=256, n_threads=1, n_parallel=1)


@pytest.fixture(params=["memory", "files"])
def new_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., BaseLlamaCache]:
    if request.param == "memory":
        return LlamaRAMCache
    return lambda *capacity: LlamaDiskCache(tmp_path / "cache", *capacity)


def test_another_object_goes_on_from_a_cache(tiny_model: Path, new_cache: Callable[..., BaseLlamaCache]) -> None:
    cache = new_cache()
    with made(tiny_model) as llm:
        llm.set_cache(cache)
        assert llm.cache is cache
        first = llm(TEXT, max_tokens=4, temperature=0)
        assert cache.cache_size > 0
        assert llm.tokenize(TEXT) in cache
    if isinstance(cache, LlamaDiskCache):
        cache = new_cache()
    with made(tiny_model) as llm:
        llm.set_cache(cache)
        again = llm(TEXT, max_tokens=4, temperature=0)
        assert again["choices"][0]["text"] == first["choices"][0]["text"]
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == again["usage"]["prompt_tokens"] - 1
        llm.set_cache(None)
        assert llm.cache is None


def test_a_cache_of_another_model_is_no_match(tiny_model: Path, new_cache: Callable[..., BaseLlamaCache]) -> None:
    cache = new_cache()
    with made(tiny_model) as llm:
        tokens = llm.tokenize(TEXT)
        cache[tokens] = SavedState(State("of another model", tuple(tokens), b"rubbish"))
        llm.set_cache(cache)
        assert llm(TEXT, max_tokens=1)["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def saved(*tokens: int, size: int = 1000) -> SavedState:
    return SavedState(State("x", tokens, bytes(size)))


def test_the_longest_beginning_is_found(new_cache: Callable[..., BaseLlamaCache]) -> None:
    cache = new_cache()
    for tokens in ((1, 2), (1, 2, 3), (4,)):
        cache[tokens] = saved(*tokens)
    assert cache[(1, 2, 3, 9)].tokens == (1, 2, 3)
    assert cache[(4, 5)].tokens == (4,)
    assert (1, 9) in cache
    assert (9,) not in cache
    with pytest.raises(KeyError):
        cache[(9,)]


def test_the_capacity_is_kept(new_cache: Callable[..., BaseLlamaCache]) -> None:
    cache = new_cache(2500)
    for number in range(1, 6):
        cache[(number,)] = saved(number)
        assert cache.cache_size <= 2500
    assert (5,) in cache
    assert (1,) not in cache


def test_damaged_files_are_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = LlamaDiskCache(tmp_path)
    cache[(1, 2, 3)] = saved(1, 2, 3)
    cache[(1, 2)] = saved(1, 2)
    (tmp_path / "no.state").write_bytes(b"rubbish")
    longest = max(tmp_path.glob("*.state"), key=lambda path: path.stat().st_size)
    data = bytearray(longest.read_bytes())
    data[-1] ^= 1
    longest.write_bytes(data)
    assert cache[(1, 2, 3)].tokens == (1, 2)
    assert not longest.exists()
    assert "is removed from the cache" in caplog.text


def test_a_cache_of_ones_own(tiny_model: Path) -> None:
    class Forgetful(BaseLlamaCache):
        puts = 0
        cache_size = 0

        def __getitem__(self, key: Sequence[int]) -> SavedState:
            raise KeyError(key)

        def __contains__(self, key: Sequence[int]) -> bool:
            return False

        def __setitem__(self, key: Sequence[int], value: SavedState) -> None:
            self.puts += 1
            assert list(key) == list(value.tokens) == value.input_ids.tolist()
            assert value.llama_state_size == len(value.llama_state) > 0
            assert repr(value).startswith("<SavedState of ")
            assert "\n" not in repr(value)

    cache = Forgetful()
    with made(tiny_model) as llm:
        llm.set_cache(cache)
        llm(TEXT, max_tokens=2)
    assert cache.puts == 1
