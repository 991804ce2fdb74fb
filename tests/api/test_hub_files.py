"""`Llama.from_pretrained`: files of the hub in the shared cache, in another one, and in a folder of the caller's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import pytest
from fake_hub import FakeHub

from llamacli import AsyncLlama, Llama
from llamacli.errors import DownloadError, ModelNotFoundError, UsageError
from llamacli.store.files import paths

REPO = "some-user/Tiny-GGUF"
NAME = "sub/tiny-Q4_K_M.gguf"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Iterator[FakeHub]:
    with fake_hub.running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        content = tiny_model.read_bytes()
        server.files[REPO] = {NAME: content, "tiny-Q8_0.gguf": content, "README.md": b"x"}
        yield server


def loaded(filename: str | None = "*Q4_K_M.gguf", **arguments: object) -> str:
    with Llama.from_pretrained(REPO, filename, n_ctx=64, n_threads=1, **arguments) as llm:
        assert llm("Hello", max_tokens=1)["choices"]
        return llm.model_path


def test_the_shared_cache(hub: FakeHub) -> None:
    path = Path(loaded())
    assert path.is_relative_to(paths.hub_cache())
    assert path.match(NAME)
    requests = len(hub.bodies())
    assert loaded(NAME) == str(path)
    assert len(hub.bodies()) == requests


def test_another_cache(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(loaded(cache_dir=tmp_path))
    assert path.is_relative_to(tmp_path / "models--some-user--Tiny-GGUF" / "snapshots")
    assert not paths.hub_cache().exists()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert loaded(cache_dir=str(tmp_path)) == str(path)
    with pytest.raises(ModelNotFoundError, match="no file matches"):
        loaded()


def test_a_folder_of_the_callers(hub: FakeHub, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    path = Path(loaded(local_dir=folder, local_dir_use_symlinks="auto"))
    assert path == folder / NAME
    assert not path.is_symlink()
    path.unlink()
    path.write_text("an old file")
    for _ in range(2):
        loaded(local_dir=folder)
        assert path.read_bytes() == hub.files[REPO][NAME]
    assert [file for file in folder.rglob("*") if file.is_file()] == [path]
    assert len(hub.bodies()) == 1


def test_a_folder_on_another_file_system(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    path = Path(loaded(local_dir=tmp_path))
    assert path.stat().st_nlink == 1
    assert path.read_bytes() == hub.files[REPO][NAME]


def test_several_files(hub: FakeHub, tmp_path: Path) -> None:
    with Llama.from_pretrained(REPO, NAME, ["tiny-Q8_0.gguf"], tmp_path, n_ctx=64, n_threads=1) as llm:
        assert llm.model_path == str(tmp_path / NAME)
    assert (tmp_path / "tiny-Q8_0.gguf").exists()


@pytest.mark.parametrize(
    ("filename", "kind", "words"),
    [
        ("*.gguf", ModelNotFoundError, "2 files match"),
        ("*IQ1*", ValueError, "no file matches"),
        ("none.gguf", ModelNotFoundError, "none.gguf"),
        ("../x.gguf", UsageError, "invalid hub reference"),
    ],
)
def test_what_is_not_there(hub: FakeHub, filename: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        Llama.from_pretrained(REPO, filename)


def test_a_folder_that_cannot_be_written(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot write"):
        Llama.from_pretrained(REPO, NAME, local_dir=tmp_path / "file")


def test_asynchronous(hub: FakeHub) -> None:
    llm = AsyncLlama.from_pretrained(REPO, NAME, n_ctx=64, n_threads=1)
    assert llm.n_ctx() == 64
    llm.close()
