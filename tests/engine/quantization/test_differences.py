"""How far weights are apart: against numpy, for every type that can be quantized to, streamed and damaged."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tiny
from fakes import invoke

from llamacli.backend.child.quantizer import quantize
from llamacli.engine.quantization import differences
from llamacli.engine.quantization.differences import compare_weights
from llamacli.engine.quantization.types import Quantization
from llamacli.errors import ModelFileError


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_model(tmp_path_factory.mktemp("wide") / "f32.gguf", width=256, feed_forward=512)


def values_of(seed: int) -> dict[str, np.ndarray]:
    size = len(tiny.default_vocabulary().tokens)
    return {one.name: np.frombuffer(one.data, "<f4").astype(float) for one in tiny.default_tensors(size, seed=seed)}


def test_figures_are_those_of_numpy(tmp_path, monkeypatch):
    monkeypatch.setattr(differences, "_STRIP", 100)  # several strips in every tensor
    paths = [str(tiny.tiny_model(tmp_path / f"{seed}.gguf", seed=seed)) for seed in (0, 1)]
    old, new = values_of(0), values_of(1)
    found = {one.name: one for one in compare_weights(*paths)}
    assert list(found) == list(old)
    for name, one in found.items():
        a, b = old[name], new[name]
        assert one.values == a.size
        assert one.rms == pytest.approx(math.sqrt(((a - b) ** 2).mean()), rel=1e-6, abs=1e-12)
        assert one.largest == pytest.approx(abs(a - b).max(), rel=1e-6, abs=1e-12)
        assert one.cosine == pytest.approx(a @ b / math.sqrt((a @ a) * (b @ b)), abs=1e-6)
        assert one.relative == pytest.approx(math.sqrt(((a - b) ** 2).sum() / (a @ a)), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(("name", "most"), [("Q8_0", 0.01), ("Q6_K", 0.03), ("Q4_K_M", 0.12), ("F16", 1e-3), ("IQ4_XS", 0.12)])
def test_quantizations_are_as_far_away_as_their_bits_say(wide_model, tmp_path, name, most):
    quantize(Quantization(source=str(wide_model), type_name=name), tmp_path / "o.gguf")
    steps: list[tuple[int, int]] = []
    found = list(compare_weights(str(wide_model), str(tmp_path / "o.gguf"), lambda *step: steps.append(step)))
    changed = [one for one in found if one.new_type != one.old_type]
    assert len(changed) >= 14
    assert all(0 < one.relative < most and one.cosine > 1 - most for one in changed)
    assert steps[-1][0] == steps[-1][1] == sum(one.values for one in found)


def test_values_that_are_not_finite_are_counted(tmp_path):
    whole = tiny.tiny_model(tmp_path / "a.gguf")
    broken = tmp_path / "b.gguf"
    broken.write_bytes(whole.read_bytes()[:-4] + b"\0\0\xc0\x7f")
    last = list(compare_weights(str(whole), str(broken)))[-1]
    assert (last.not_finite, last.rms) == (1, 0)


def test_a_file_that_becomes_shorter_is_an_error(tmp_path):
    whole = tiny.tiny_model(tmp_path / "a.gguf")
    found = compare_weights(str(whole), str(whole))
    next(found)
    whole.write_bytes(whole.read_bytes()[:-40_000])
    with pytest.raises(ModelFileError, match="ends in tensor"):
        list(found)


def test_the_command_shows_a_line_for_each_tensor(wide_model, tmp_path):
    other = tmp_path / "q8.gguf"
    quantize(Quantization(source=str(wide_model), type_name="Q8_0"), other)
    result = invoke("info", str(wide_model), "--diff", str(other), "--values")
    assert result.status == 8
    assert "F32 -> Q8_0" in result.stdout
    assert "16 of 21 tensors differ; relative RMS of all weights 0." in result.stdout
    narrow = invoke("info", str(wide_model), "--diff", str(other), "--values", width=40).stdout
    assert max(map(len, narrow.splitlines()[:-1])) <= 40
    assert '"relative"' in invoke("info", str(wide_model), "--diff", str(other), "--values", "--json").stdout
    same = invoke("info", "--diff", str(wide_model), str(wide_model), "--values")
    assert (same.status, "0 of 21 tensors differ" in same.stdout) == (0, True)
    assert invoke("info", str(wide_model), "--values").status == 2


def test_models_without_a_common_tensor_cannot_be_compared(wide_model, tiny_model):
    result = invoke("info", str(wide_model), "--diff", str(tiny_model), "--values")
    assert (result.status, "no tensor of the same name and shape" in result.stderr) == (2, True)
