"""Projectors are found where their models are, by names and widths."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from fake_hub import FakeHub, running
from tiny_projector import write_projector

from llamacli.errors import DownloadError, ModelNotFoundError
from llamacli.store.files.progress import ignore_progress
from llamacli.store.models import hub as hub_store
from llamacli.store.models import hub_catalogue, projectors, pull, quantization
from llamacli.store.models.quantization import candidates, choose_projector

REPO = "some-user/Tiny-VL-GGUF"
IMAGES = tiny.CHATML.replace("message['content']", "message['content'] + ('<image>' if false else '')")


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny.tiny_model(tmp_path_factory.mktemp("models") / "m.gguf").read_bytes()


@pytest.mark.parametrize(
    ("model", "others", "found"),
    [
        ("Tiny-Q4_0.gguf", ["mmproj-F16.gguf"], "mmproj-F16.gguf"),
        ("Tiny-Q4_0.gguf", ["Tiny-Q8_0.gguf", "mmproj-F16.gguf"], "mmproj-F16.gguf"),
        ("Tiny-Q4_0.gguf", ["mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"], "mmproj-F16.gguf"),
        ("Tiny-VL-2B-Q4_0.gguf", ["mmproj-Tiny-VL-2B-Q8_0.gguf", "Other-Q4_0.gguf"], "mmproj-Tiny-VL-2B-Q8_0.gguf"),
        ("Tiny-VL-2B.gguf", ["tiny_vl_2b.mmproj-f16.gguf", "Other.gguf"], "tiny_vl_2b.mmproj-f16.gguf"),
        ("Tiny-VL.gguf", ["mmproj-model-f16.gguf"], "mmproj-model-f16.gguf"),
        ("Tiny-Q4_0.gguf", ["Other-Q4_0.gguf", "mmproj-F16.gguf"], None),
        ("Tiny-Q4_0.gguf", ["mmproj-Other-F16.gguf"], None),
        ("Tiny-VL-2B.gguf", ["mmproj-Tiny-VL-2.gguf"], None),
        ("Tiny-Q4_0.gguf", ["projector.gguf"], None),
        ("Tiny-Q4_0.gguf", [], None),
    ],
)
def test_names_say_what_belongs_together(
    tmp_path: Path, model_bytes: bytes, model: str, others: list[str], found: str | None
) -> None:
    (tmp_path / model).write_bytes(model_bytes)
    for name in others:
        if "mmproj" in name or name == "projector.gguf":
            write_projector(tmp_path / name)
        else:
            (tmp_path / name).write_bytes(model_bytes)
    beside = projectors.find_beside(tmp_path / model)
    assert (beside.name if beside is not None else None) == found


def test_a_projector_of_another_width_is_not_taken(tmp_path: Path, model_bytes: bytes) -> None:
    (tmp_path / "Tiny.gguf").write_bytes(model_bytes)
    narrow = write_projector(tmp_path / "mmproj-F16.gguf", width=48)
    (tmp_path / "mmproj-Q8_0.gguf").write_bytes(b"GGUF, and then nothing")
    assert projectors.find_beside(tmp_path / "Tiny.gguf") is None
    assert projectors.models_beside(narrow) == []
    wide = write_projector(tmp_path / "mmproj-BF16.gguf")
    assert projectors.find_beside(tmp_path / "Tiny.gguf") == wide
    assert projectors.models_beside(wide) == [tmp_path / "Tiny.gguf"]


@pytest.mark.parametrize(
    ("selector", "found"),
    [(None, "mmproj-F16.gguf"), ("q8_0", "mmproj-Q8_0.gguf"), ("Model-Q4_K_M.gguf", "Model-Q4_K_M.gguf"), ("Q5_K", None)],
)
def test_a_repository_is_asked_for_its_projector(selector: str | None, found: str | None) -> None:
    names = ("Model-Q4_K_M.gguf", "mmproj-Q8_0.gguf", "mmproj-F16.gguf")
    files = candidates(quantization.RemoteFile(name) for name in names)
    if found is None:
        with pytest.raises(ModelNotFoundError, match=r"has no projector Q5_K .it has F16, Q8_0."):
            choose_projector(files, selector, where=REPO)
    else:
        assert choose_projector(files, selector, where=REPO).name == found


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


def find(model: Path, *, wanted: bool = False, offline: bool = False) -> Path | None:
    return projectors.find(
        model, f"hf:{REPO}:Q4_0", aliases={}, offline=offline, on_progress=ignore_progress, wanted=wanted
    )  # fmt: skip


@pytest.mark.parametrize("knows_images", [False, True])
def test_the_hub_has_the_projector(hub: FakeHub, tmp_path: Path, knows_images: bool) -> None:
    template = IMAGES if knows_images else tiny.CHATML
    model = tiny.tiny_model(tmp_path / "m.gguf", change={"tokenizer.chat_template": template}).read_bytes()
    projector = write_projector(tmp_path / "p.gguf").read_bytes()
    hub.files[REPO] = {"Tiny-VL-Q4_0.gguf": model, "mmproj-F16.gguf": projector}
    path = hub_store.fetch(hub_store.parse(f"hf:{REPO}:Q4_0"), offline=False, on_progress=ignore_progress)
    assert find(path, offline=True) is None
    assert (find(path) is not None) == knows_images
    found = find(path, wanted=True)
    assert found is not None
    assert found.read_bytes() == projector
    asked = len(hub.requests)
    assert find(path, offline=True) == found
    assert find(path, wanted=True) == found
    assert len(hub.requests) == asked  # it is in the cache
    assert projectors.resolve(f"hf:{REPO}", aliases={}, offline=True, on_progress=ignore_progress) == found


@pytest.mark.parametrize("is_right", [True, False])
def test_the_catalogue_names_the_projector_and_its_hash(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_bytes: bytes, is_right: bool
) -> None:
    projector = write_projector(tmp_path / "p.gguf").read_bytes()
    hub.files[REPO] = {"Tiny-VL-Q4_0.gguf": model_bytes, "mmproj-F16.gguf": b"GGUF another", "mmproj-Q8_0.gguf": projector}
    digest = hashlib.sha256(projector).hexdigest() if is_right else "a" * 64
    entry = dataclasses.replace(
        hub_catalogue.entries()[0],
        name="tiny-vl", repository=REPO, file="Tiny-VL-Q4_0.gguf", sha256=hashlib.sha256(model_bytes).hexdigest(),
        purpose="vision", projector="mmproj-Q8_0.gguf", projector_sha256=digest, projector_mebibytes=1,
    )  # fmt: skip
    monkeypatch.setattr(hub_catalogue, "entries", lambda: (entry,))
    path = pull.pull("tiny-vl", aliases={}, offline=False, force=False, on_progress=ignore_progress)
    options = {"aliases": {}, "offline": False, "on_progress": ignore_progress}
    if is_right:
        found = projectors.find(path, "tiny-vl", **options)
        assert found is not None
        assert (found.name, found.read_bytes()) == ("mmproj-Q8_0.gguf", projector)
    else:
        with pytest.raises(DownloadError, match="is not the file that the catalogue names"):
            projectors.find(path, "tiny-vl", **options)


def test_a_repository_without_one(hub: FakeHub, tmp_path: Path, model_bytes: bytes) -> None:
    hub.files[REPO] = {"Tiny-VL-Q4_0.gguf": model_bytes}
    path = hub_store.fetch(hub_store.parse(f"hf:{REPO}"), offline=False, on_progress=ignore_progress)
    assert find(path, wanted=True) is None
    with pytest.raises(ModelNotFoundError, match="has no projector of pictures or sound"):
        projectors.resolve(f"hf:{REPO}", aliases={}, offline=False, on_progress=ignore_progress)
    with pytest.raises(DownloadError, match="forbids"):
        projectors.resolve(f"hf:{REPO}", aliases={}, offline=True, on_progress=ignore_progress)


def test_ollama_names_the_projector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_bytes: bytes) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    blobs, manifest = tmp_path / "blobs", tmp_path / "manifests/registry.ollama.ai/library/tiny-vl/latest"
    blobs.mkdir()
    manifest.parent.mkdir(parents=True)
    model, projector = blobs / f"sha256-{'a' * 64}", blobs / f"sha256-{'b' * 64}"
    model.write_bytes(model_bytes)
    write_projector(projector)
    kinds = (("model", model), ("projector", projector))
    layers = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": path.name.replace("-", ":")} for kind, path in kinds
    ]
    manifest.write_text(json.dumps({"layers": layers}))
    options = {"aliases": {}, "offline": True, "on_progress": ignore_progress}
    assert projectors.find(model, "ollama:tiny-vl", **options) == projector
    manifest.write_text(json.dumps({"layers": layers[:1]}))
    assert projectors.find(model, "ollama:tiny-vl", **options) is None
