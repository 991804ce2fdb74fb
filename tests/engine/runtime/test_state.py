"""Saved states: what they spare, and that nothing damaged or foreign reaches llama.cpp."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from llamacli.engine.events import Finished, Token
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams
from llamacli.engine.runtime import state as states
from llamacli.engine.runtime import state_file
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from llamacli.errors import ContextFullError, StateError

PARAMS = GenerationParams(max_tokens=6, sampling=SamplingParams(temperature=0, ignore_eos=True))


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model) as model:
        yield model


def generate(context: Context, scheduler: Scheduler, prompt: tuple[int, ...]) -> tuple[list[int], Finished]:
    scheduler.submit(Request(prompt=prompt, params=PARAMS))
    events = list(scheduler.run())
    end = events[-1]
    assert isinstance(end, Finished)
    return [event.id for event in events if isinstance(event, Token)], end


@pytest.fixture
def saved(model: Model, tmp_path: Path) -> tuple[Path, tuple[int, ...], list[int]]:
    prompt = tuple(model.vocabulary.tokenize("a prompt that was evaluated before"))
    with Context(model, ContextParams(n_ctx=128, threads=1)) as context:
        scheduler = Scheduler(context)
        tokens, _ = generate(context, scheduler, prompt)
        path = tmp_path / "prompt.state"
        state_file.write(path, states.capture(context, 0, scheduler.slots.tokens_of(0)))
    return path, prompt, tokens


def test_a_restored_prompt_is_not_evaluated_again(model: Model, saved: tuple[Path, tuple[int, ...], list[int]]) -> None:
    path, prompt, tokens = saved
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Context(model, ContextParams(n_ctx=128, threads=1)) as context:
        scheduler = Scheduler(context)
        state = state_file.read(path)
        states.restore(context, 0, state)
        scheduler.slots.adopt(0, list(state.tokens))
        again, end = generate(context, scheduler, prompt)
    assert again == tokens
    assert end.timings.prompt_n == 1


def test_truncated_anywhere(saved: tuple[Path, tuple[int, ...], list[int]], tmp_path: Path) -> None:
    data = saved[0].read_bytes()
    path = tmp_path / "cut.state"
    for length in [0, 1, 14, 15, 16, 60, *range(100, len(data), len(data) // 50), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(StateError) as caught:
            state_file.read(path)
        assert "\n" not in str(caught.value)


def test_altered_anywhere(saved: tuple[Path, tuple[int, ...], list[int]], tmp_path: Path) -> None:
    data = bytearray(saved[0].read_bytes())
    path = tmp_path / "altered.state"
    for place in [*range(0, 300, 7), *range(300, len(data), len(data) // 60)]:
        data[place] ^= 0x55
        path.write_bytes(data)
        with pytest.raises(StateError):
            state_file.read(path)
        data[place] ^= 0x55


def test_longer_than_it_should_be(saved: tuple[Path, tuple[int, ...], list[int]]) -> None:
    saved[0].write_bytes(saved[0].read_bytes() + b"more")
    with pytest.raises(StateError):
        state_file.read(saved[0])


def test_of_another_model_or_cache_type(model: Model, saved: tuple[Path, tuple[int, ...], list[int]], tmp_path: Path) -> None:
    state = state_file.read(saved[0])
    other = tiny.tiny_model(tmp_path / "other.gguf", seed=99)
    with Model(other) as second, Context(second, ContextParams(n_ctx=128, threads=1)) as context, pytest.raises(StateError):
        states.restore(context, 0, state)
    with Context(model, ContextParams(n_ctx=128, cache_type_k="f32")) as context, pytest.raises(StateError):
        states.restore(context, 0, state)


def test_longer_than_the_context(model: Model, tmp_path: Path) -> None:
    prompt = tuple([40] * 300)
    with Context(model, ContextParams(n_ctx=512, threads=1)) as context:
        scheduler = Scheduler(context)
        generate(context, scheduler, prompt)
        state = states.capture(context, 0, scheduler.slots.tokens_of(0))
    with Context(model, ContextParams(n_ctx=256, threads=1)) as small, pytest.raises(ContextFullError, match="256"):
        states.restore(small, 0, state)


def test_what_is_no_state_is_refused_by_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    os.truncate(path, 1 << 42)  # of which nothing lies on the disk, but no memory holds it
    with pytest.raises(StateError, match="is not a saved state"):
        state_file.read(path)
    with path.open("r+b") as file:
        file.write(state_file.MAGIC + b'{"version": 1, "fingerprint": "", "tokens": 1, "payload": 7, "sha256": ""}\n')
    with pytest.raises(StateError, match="is truncated or has trailing data: 11 bytes expected"):
        state_file.read(path)


@pytest.mark.parametrize(
    ("cut", "more", "says"),
    [
        (0, b"", ""),
        (1, b"", "is truncated or"),
        (0, b"more", "is truncated or"),
        (1 << 30, b"", "is not a"),
    ],
)
def test_from_a_pipe(saved: tuple[Path, tuple[int, ...], list[int]], tmp_path: Path, cut: int, more: bytes, says: str) -> None:
    data = saved[0].read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError):
            pipe.write_bytes(data[: max(0, len(data) - cut)] + more)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        if says:
            with pytest.raises(StateError, match=says):
                state_file.read(pipe)
        else:
            assert state_file.read(pipe) == state_file.read(saved[0])
    finally:
        writer.join()


def test_a_pipe_that_announces_too_much() -> None:
    header = b'{"version": 1, "fingerprint": "", "tokens": 1, "payload": 1152921504606846976, "sha256": ""}\n'
    read, write = os.pipe()
    os.write(write, state_file.MAGIC + header + b"12345678")
    os.close(write)
    with pytest.raises(StateError, match="is truncated or has trailing data: 1152921504606846980 bytes expected, 8 found"):
        state_file.read(Path(f"/dev/fd/{read}"))
    os.close(read)


@pytest.mark.parametrize("name", ["missing.state", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(StateError):
        state_file.read(tmp_path / name)


def test_a_failed_write_leaves_the_old_file(
    saved: tuple[Path, tuple[int, ...], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved[0].read_bytes()
    state = state_file.read(saved[0])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        state_file.write(saved[0], state)
    assert saved[0].read_bytes() == before
    assert [entry.name for entry in saved[0].parent.iterdir()] == [saved[0].name]
