"""Models that see, generated once for all tests of a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_vision import Kind, VisionModel, vision_model

Seeing = Callable[..., VisionModel]


@pytest.fixture(scope="session")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Seeing:
    """Returns a model of a kind, with weights set by hand or, with a seed, at random."""
    folder: Path = tmp_path_factory.mktemp("seeing")
    made: dict[tuple[Kind, int | None], VisionModel] = {}

    def make(kind: Kind, seed: int | None = None) -> VisionModel:
        if (kind, seed) not in made:
            made[kind, seed] = vision_model(folder, kind, seed=seed)
        return made[kind, seed]

    return make
