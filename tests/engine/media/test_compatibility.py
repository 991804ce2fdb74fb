"""Projectors that do not fit, and models that take no pictures: refused before the weights are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny

from llamacli.engine.chat.message import Message
from llamacli.engine.engine import Engine
from llamacli.engine.media.media import new_image
from llamacli.engine.params import ModelParams
from llamacli.errors import LlamacliError, ModelFileError, ModelNotFoundError, ModelUnsupportedError, UsageError

METADATA: dict[str, Any] = {
    "general.architecture": "clip", "clip.has_vision_encoder": True, "clip.projector_type": "idefics3"
}  # fmt: skip


def projector(path: Path, width: int = 64, **changes: Any) -> Path:
    path.write_bytes(tiny.gguf_bytes(METADATA | changes, [tiny.Tensor("mm.model.fc.weight", (8, width), bytes(4 * 8 * width))]))
    return path


def test_widths_are_named(tiny_model: Path, tmp_path: Path) -> None:
    path = projector(tmp_path / "mmproj.gguf", 48)
    with pytest.raises(ModelUnsupportedError) as caught:
        Engine(tiny_model, ModelParams(mmproj=str(path)))
    assert caught.value.message == f"the projector mmproj.gguf makes embeddings of 48 values, and {tiny_model.name} has 64"
    assert caught.value.parameter == "mmproj"


@pytest.mark.parametrize(
    ("content", "kind"),
    [(None, ModelNotFoundError), (b"", ModelFileError), (b"GGUF", ModelFileError), (b"PNG..", ModelFileError)],
)
def test_files_that_are_not_gguf(tiny_model: Path, tmp_path: Path, content: bytes | None, kind: type[LlamacliError]) -> None:
    path = tmp_path / "mmproj.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(kind):
        Engine(tiny_model, ModelParams(mmproj=str(path)))


def test_models_and_empty_projectors_are_no_projectors(tiny_model: Path, tmp_path: Path) -> None:
    empty = projector(tmp_path / "mmproj.gguf", **{"clip.has_vision_encoder": False})
    for path in (tiny_model, empty):
        with pytest.raises(ModelUnsupportedError, match="is not a projector"):
            Engine(tiny_model, ModelParams(mmproj=str(path)))


def test_model_takes_no_images(tiny_model: Path) -> None:
    with Engine(tiny_model) as engine, pytest.raises(UsageError, match="this model takes no images") as caught:
        engine.chat_turn([Message("user", (new_image(1, 1, b"abc"), "What?"))])
    assert caught.value.parameter == "mmproj"
