"""Fixtures for every test: an isolated home, the tiny generated model and the real demo model."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

import tiny
import tiny_memories
from tiny_vision import Kind, Seeing, VisionModel, vision_model

from llamacli.store.models import catalogue

REAL_ENVIRONMENT = dict(os.environ)
"""The environment as it was before any test: only `demo_model` looks at it."""

PERSONAL = ("XDG_", "LLAMACLI_", "LLAMA_CACHE", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "OLLAMA_")
"""Environment variables that begin so say where a user's own files are, or change what a command does."""

TERMINAL = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many damaged files the fuzz tests make, how often engines are loaded, and how often a pool loses a server."""
    parser.addoption("--cycles", type=int, default=5, help="times that a model is loaded and closed (default 5)")
    parser.addoption("--fuzz-cases", type=int, default=10_000, help="damaged files for each fuzz test (default 10,000)")
    parser.addoption("--pool-runs", type=int, default=2, help="runs over three servers, one killed in each (default 2)")


@pytest.fixture(autouse=True)
def isolated_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and none of the user's settings, caches and colours."""
    home = tmp_path_factory.mktemp("home")
    for name in os.environ:
        if name.startswith(PERSONAL) or name in TERMINAL:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama model with a ChatML template (see tests/support/tiny.py)."""
    return tiny.tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model without a chat template."""
    return tiny.tiny_model(tmp_path_factory.mktemp("models") / "tiny-base.gguf", template=None)


@pytest.fixture(scope="session")
def tiny_embedding_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with mean pooling."""
    return tiny.tiny_model(tmp_path_factory.mktemp("models") / "tiny-embedding.gguf", embedding=True)


@pytest.fixture(scope="session")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Seeing:
    """Returns a model that sees: of a kind, with weights set by hand or, with a seed, at random."""
    folder = tmp_path_factory.mktemp("seeing")
    made: dict[tuple[Kind, int | None], VisionModel] = {}

    def make(kind: Kind, seed: int | None = None) -> VisionModel:
        if (kind, seed) not in made:
            made[kind, seed] = vision_model(folder, kind, seed=seed)
        return made[kind, seed]

    return make


@pytest.fixture(scope="session")
def quantized_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in Q8_0, with a context of 4,096 tokens: our kernels multiply all of its weights."""
    from fakes import invoke

    folder = tmp_path_factory.mktemp("quantized")
    plain = tiny.tiny_model(folder / "plain.gguf", context=4096)
    result = invoke(
        "models", "quantize", "--pure", str(plain), str(folder / "tiny-q8.gguf"), "Q8_0", find_model=lambda *a, **k: plain
    )
    assert result.status == 0, result.stderr
    return folder / "tiny-q8.gguf"


@pytest.fixture(scope="session")
def memory_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models with a sliding window, with recurrent layers, and with both kinds (see tests/support/tiny_memories.py)."""
    folder = tmp_path_factory.mktemp("memories")
    return {kind: tiny_memories.memory_model(folder / f"{kind}.gguf", kind) for kind in tiny_memories.KINDS}


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The demo model's file, where `llamacli` keeps it or where LLAMACLI_TEST_DEMO_MODEL says. Mark such tests `demo`."""
    if named := REAL_ENVIRONMENT.get("LLAMACLI_TEST_DEMO_MODEL"):
        return Path(named)
    return _stored(catalogue.DEMO)


@pytest.fixture(scope="session")
def embedding_demo_model() -> Path:
    """The embedding demo model's file, where `llamacli` keeps it. Mark such tests `demo`."""
    return _stored(catalogue.EMBEDDING_DEMO)


def _stored(entry: catalogue.Entry) -> Path:
    """The file of a model of the catalogue in the user's own store."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() | REAL_ENVIRONMENT.keys():
            if name in REAL_ENVIRONMENT:
                patch.setenv(name, REAL_ENVIRONMENT[name])
            else:
                patch.delenv(name)
        if not entry.is_present():
            pytest.skip(f"{entry.file_name} is not on this machine: `llamacli models pull {entry.name}` fetches it")
        return entry.path
