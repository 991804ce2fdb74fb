"""`llamacli run --save-state` and `--load-state`: an evaluated prompt comes back, or is refused."""

from __future__ import annotations

import json
import os
import random
import stat
import threading
from pathlib import Path

import pytest
from fakes import FakeEngine, Result, invoke

from llamacli.cli.framework import context

TEXT = "Hello world, the weather is in the world and in us. " * 4


def run(model: Path, *arguments: str) -> Result:
    """Runs in this process, with the real engine, and gives a document."""
    return invoke(
        "run", "-m", str(model), "-t", "1", "--temp", "0", "-n", "12", "--ignore-eos", "--json", *arguments,
        open_engine=context.open_engine,
    )  # fmt: skip


def content(result: Result) -> str:
    return json.loads(result.stdout)["choices"][0]["message"]["content"]


def usage(result: Result) -> tuple[int, int]:
    """Tokens of the prompt, and how many of them were not evaluated."""
    document = json.loads(result.stdout)["usage"]
    return document["prompt_tokens"], document["prompt_tokens_details"]["cached_tokens"]


@pytest.fixture
def saved(tiny_model: Path, tmp_path: Path) -> tuple[Path, Result]:
    file = tmp_path / "prompt.state"
    return file, run(tiny_model, "--save-state", str(file), TEXT)


def test_the_prompt_comes_back_without_being_evaluated_again(tiny_model, saved):
    file, first = saved
    again = run(tiny_model, "--load-state", str(file), TEXT)
    assert (again.status, again.stderr) == (0, "")
    total, cached = usage(again)
    assert cached == total - 1
    assert json.loads(again.stdout)["timings"]["prompt_n"] == 1
    assert content(again) == content(first) == content(run(tiny_model, TEXT))


def test_a_longer_prompt_evaluates_only_the_rest(tiny_model, tmp_path):
    file = tmp_path / "prompt.state"
    run(tiny_model, "--raw", "--save-state", str(file), TEXT)
    result = run(tiny_model, "--raw", "--load-state", str(file), TEXT + "And then the world is in the weather.")
    plain = run(tiny_model, "--raw", TEXT + "And then the world is in the weather.")
    assert 0 < usage(result)[0] - usage(result)[1] < 25
    assert json.loads(result.stdout)["choices"] == json.loads(plain.stdout)["choices"]


def test_only_evaluating_is_enough(tiny_model, tmp_path):
    file = tmp_path / "prompt.state"
    result = run(tiny_model, "-n", "0", "--save-state", str(file), TEXT)
    assert (result.status, content(result)) == (0, "")
    total, cached = usage(run(tiny_model, "--load-state", str(file), TEXT))
    assert cached == total - 1


def test_a_state_is_private_and_written_whole(saved):
    file, _ = saved
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_saving_over_a_state_and_with_samples(tiny_model, saved):
    file, first = saved
    result = run(tiny_model, "--load-state", str(file), "--save-state", str(file), "--samples", "2", TEXT)
    assert (result.status, len(json.loads(result.stdout)["choices"])) == (0, 2)
    assert content(run(tiny_model, "--load-state", str(file), TEXT)) == content(first)


def test_damaged_states_are_refused(tiny_model, saved, tmp_path):
    file, _ = saved
    data = file.read_bytes()
    draw = random.Random(5)
    damaged = [data[: draw.randrange(len(data))] for _ in range(8)]
    for _ in range(16):
        place = draw.randrange(len(data))
        damaged.append(data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :])
    damaged += [b"", b"\0" * 100, data + b"x", b"GGUF" + data]
    other = tmp_path / "damaged.state"
    for number, bad in enumerate(damaged):
        other.write_bytes(bad)
        result = run(tiny_model, "--load-state", str(other), TEXT)
        assert (result.status, result.stdout, result.stderr.count("\n")) == (3, "", 1), number
        assert "damaged.state" in result.stderr


def test_states_of_other_models_and_cache_types_are_refused(tiny_model, tiny_base_model, saved):
    file, _ = saved
    for model, extra in ((tiny_base_model, []), (tiny_model, ["-ctk", "f32"]), (tiny_model, ["--rope-freq-base", "5000"])):
        result = run(model, *extra, "--load-state", str(file), TEXT)
        assert (result.status, result.stdout) == (3, "")
        assert "belongs to another model, build or cache type" in result.stderr


def test_a_state_that_is_longer_than_the_context(tiny_model, saved):
    file, _ = saved
    result = run(tiny_model, "-c", "32", "--load-state", str(file), "Hi")
    assert (result.status, result.stdout) == (4, "")
    assert "the context holds 32" in result.stderr


def test_a_state_without_use_is_told(tiny_model, saved):
    file, _ = saved
    result = run(tiny_model, "--raw", "--load-state", str(file), "zzz")
    assert result.status == 0
    assert f"has nothing in common with {file}" in result.stderr


def test_missing_and_unwritable_places(tiny_model, tmp_path):
    missing = run(tiny_model, "--load-state", str(tmp_path / "none"), "Hi")
    assert (missing.status, missing.stdout) == (3, "")
    unwritable = run(tiny_model, "--save-state", str(tmp_path / "no" / "where"), "Hi")
    assert (unwritable.status, unwritable.stderr.count("\n")) == (1, 1)
    assert unwritable.stderr.removeprefix("llamacli: error: ") == (
        f"cannot write the saved state {tmp_path / 'no' / 'where'}: No such file or directory\n"
    )
    folder = run(tiny_model, "--save-state", str(tmp_path), "Hi")
    assert (folder.status, folder.stderr) == (1, f"llamacli: error: cannot write the saved state {tmp_path}: Is a directory\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device(tiny_model):
    result = run(tiny_model, "--save-state", "/dev/full", "Hi")
    assert result.status == 1
    assert result.stderr == "llamacli: error: cannot write the saved state /dev/full: No space left on device\n"


def test_a_device_stays_a_device_and_a_link_a_link(tiny_model, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    assert run(tiny_model, "--save-state", str(pipe), "Hi").status == 0
    reader.join()
    assert pipe.is_fifo()
    link, file = tmp_path / "link", tmp_path / "state"
    link.symlink_to(file)
    assert run(tiny_model, "--save-state", str(link), "Hi").status == 0
    assert link.is_symlink()
    assert file.read_bytes() == received[0]


def test_the_prompt_is_saved_before_the_answer(tmp_path):
    file = tmp_path / "prompt.state"
    engine = FakeEngine(error=KeyboardInterrupt())
    assert invoke("run", "Hi", "--save-state", str(file), engine=engine).status == 130
    assert file.read_bytes() == b"state"
