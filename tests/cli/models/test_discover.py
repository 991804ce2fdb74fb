"""`llamacli models search`, `recommend`, `update`, and `pull` without a name, against a hub on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_hub
import pytest
from fake_hub import Behaviour, FakeHub
from fakes import Result, invoke

from llamacli.cli.framework.console import Terminals
from llamacli.cli.framework.context import find_model
from llamacli.store.files import paths
from llamacli.store.models import catalogue, hub_catalogue, recommend
from llamacli.store.models import download as transfer
from llamacli.store.models.hub_catalogue import HubEntry

REPO, OTHER = "user/Tiny-GGUF", "other/Tiny-Coder-GGUF"
ON_TERMINAL = Terminals(stdin=True, stdout=True, stderr=True)
MACHINE = {"memory": 16 << 30, "bytes_per_second": 20e9}


def models(*arguments: str, **options: object) -> Result:
    return invoke("models", *arguments, **{"find_model": find_model, **options})  # type: ignore[arg-type]


@pytest.fixture
def data(tiny_model: Path) -> bytes:
    return tiny_model.read_bytes()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, data: bytes) -> Iterator[FakeHub]:
    monkeypatch.setattr(transfer, "RETRY_DELAYS", (0.0,))
    with fake_hub.running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        server.files[REPO] = {"Tiny-Q4_K_M.gguf": data, "Tiny-Q8_0.gguf": data + bytes(32), "mmproj-F16.gguf": data}
        server.files[OTHER] = {"Tiny-Coder-Q8_0.gguf": data}
        server.files["user/Tiny-no-model"] = {"README.md": b"x"}
        yield server


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch, data: bytes) -> HubEntry:
    """A catalogue of one small model."""
    made = replace(
        hub_catalogue.entries()[0], name="tiny", repository=REPO, file="Tiny-Q8_0.gguf", mebibytes=1,
        sha256=hashlib.sha256(data + bytes(32)).hexdigest(),
    )  # fmt: skip
    monkeypatch.setattr(hub_catalogue, "entries", lambda: (made,))
    return made


# --- search ----------------------------------------------------------------------------------------------------------


def test_a_search_lists_models_with_what_pull_would_choose(hub: FakeHub) -> None:
    found = json.loads(models("search", "tiny", "--json").stdout)
    assert [one["repository"] for one in found] == [OTHER, REPO]
    assert found[1] == {
        "repository": REPO, "quantization": "Q4_K_M", "size": len(hub.files[REPO]["Tiny-Q4_K_M.gguf"]), "fits": True,
        "quantizations": ["Q4_K_M", "Q8_0"], "downloads": 1000, "licence": "mit", "updated": "2026-01-01",
    }  # fmt: skip
    table = models("search", "tiny", "coder").stdout
    assert [line.split()[0] for line in table.splitlines()] == ["MODEL", f"hf:{OTHER}"]
    assert models("search", "tiny", "--limit", "1", "--json").stdout.count(OTHER) == 1
    assert "no model found" in models("search", "nothing").stderr


def test_a_search_that_fails_says_why(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.api = Behaviour(status=503)
    result = models("search", "tiny")
    assert (result.status, "the hub responded 503" in result.stderr) == (3, True)
    assert models("search", "tiny", "--limit", "0").status == 2
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE forbids" in models("search", "tiny").stderr
    assert "HF_HUB_OFFLINE forbids" in models("update").stderr


@pytest.mark.parametrize("width", [40, 80, 200])
def test_tables_fit_the_terminal(hub: FakeHub, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamacli.bench.memory_rate.memory_rate", lambda threads: 20e9)
    for words in (("search", "tiny"), ("recommend",)):
        out = models(*words, terminals=Terminals(stdout=True), width=width).stdout
        assert all(len(line) <= width for line in out.splitlines()), out


# --- recommend -------------------------------------------------------------------------------------------------------


def test_the_catalogue_names_many_models_each_with_its_hash() -> None:
    entries = hub_catalogue.entries()
    assert len(entries) >= 25
    assert len({entry.name for entry in entries} | set(catalogue.names())) == len(catalogue.names())
    assert len({entry.sha256 for entry in entries}) == len(entries)
    for entry in entries:
        assert len(entry.sha256) == 64
        assert int(entry.sha256, 16) > 0
        assert entry.file.endswith(".gguf")
        assert entry.active <= entry.billions
        assert 200 < entry.mebibytes / entry.billions < 2000 or entry.billions < 1
        assert (entry.purpose == "vision") == bool(entry.projector) == bool(entry.projector_mebibytes)
        assert not entry.projector or int(entry.projector_sha256, 16) > 1 << 200
    assert {entry.purpose for entry in entries} == {"chat", "code", "embed", "vision"}


@pytest.mark.parametrize(
    ("purpose", "memory_gib", "rate", "name"),
    [
        ("chat", 64, 200e9, "qwen3-32b"),
        ("chat", 24, 30e9, "qwen3-30b-a3b"),
        ("chat", 16, 60e9, "gpt-oss-20b"),
        ("chat", 6, 20e9, "smollm3-3b"),
        ("chat", 6, 1e9, "lfm2.5-230m"),
        ("chat", 0.5, 20e9, None),
        ("code", 4, 20e9, "yi-coder-1.5b"),
        ("embed", 8, 50e9, "qwen3-embedding-4b"),
        ("vision", 32, 60e9, "qwen3-vl-30b-a3b"),
        ("vision", 8, 60e9, "qwen3-vl-8b"),
        ("vision", 2, 20e9, "smolvlm-500m"),
    ],
)
def test_the_largest_model_that_fits_and_is_fast_enough_is_recommended(purpose, memory_gib, rate, name) -> None:
    found = recommend.rate(purpose, memory=int(memory_gib * (1 << 30)), bytes_per_second=rate)
    chosen = recommend.best(found)
    assert (chosen.entry.name if chosen is not None else None) == name
    assert [one.entry.billions for one in found] == sorted((one.entry.billions for one in found), reverse=True)


def test_a_recommendation_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamacli.bench.memory_rate.memory_rate", lambda threads: 20e9)
    monkeypatch.setattr("llamacli.store.models.quantization.memory_of_this_machine", lambda: 6 << 30)
    result = models("recommend")
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("*")] == ["smollm3-3b"]
    said = " ".join(result.stderr.split())
    assert "smollm3-3b: the largest for conversations that fits into 6.0 GiB of memory and generates about" in said
    assert "`llamacli models pull smollm3-3b` downloads it" in said
    document = json.loads(models("recommend", "--for", "code", "--json").stdout)
    assert (document["recommended"], document["memory"]) == ("yi-coder-1.5b", 6 << 30)
    assert {one["purpose"] for one in document["models"]} == {"code"}
    assert "the largest for pictures" in " ".join(models("recommend", "--for", "vision").stderr.split())


def test_the_rate_of_memory_is_measured() -> None:
    from llamacli.bench.memory_rate import memory_rate

    assert 1e8 < memory_rate(threads=1) < 1e13


# --- pull and update -------------------------------------------------------------------------------------------------


def test_a_name_of_the_catalogue_stands_for_one_file(hub: FakeHub, entry: HubEntry) -> None:
    pulled = models("pull", "tiny")
    assert (pulled.status, Path(pulled.stdout.strip()).name) == (0, "Tiny-Q8_0.gguf")
    assert models("path", "TINY").stdout == pulled.stdout
    said = " ".join(pulled.stderr.split())
    assert "downloading Tiny-Q8_0.gguf (" in said
    assert f"into {paths.hub_cache()}" in said
    assert said.count("downloading") == 1
    assert "removed tiny" in models("rm", "tiny").stderr
    hub.files[REPO]["Tiny-Q8_0.gguf"] += b"changed"
    refused = models("pull", "tiny")
    assert refused.status == 3
    assert "its hash has changed" in refused.stderr
    assert models("pull", f"hf:{REPO}:Tiny-Q8_0.gguf").status == 0


@pytest.mark.parametrize(("typed", "pulled"), [(b"\n", True), (b"y\n", True), (b"n\n", False), (b"", False)])
def test_pull_without_a_name_offers_the_recommendation_on_a_terminal(
    hub: FakeHub, entry: HubEntry, typed: bytes, pulled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llamacli.bench.memory_rate.memory_rate", lambda threads: 20e9)
    result = models("pull", stdin=typed, terminals=Terminals(stdin=True, stderr=True))
    assert result.status == 0
    assert "download it (1.0 MiB, licence Gemma)? [Y/n]" in result.stderr
    assert ("Tiny-Q8_0.gguf" in result.stdout) == pulled
    assert ("nothing downloaded" in result.stderr) != pulled


def test_pull_without_a_name_is_a_usage_error_elsewhere() -> None:
    result = models("pull", stdin=b"")
    assert (result.status, "MODEL is missing (`llamacli models recommend` names one" in result.stderr) == (2, True)


def test_an_update_tells_what_has_changed_by_hash(hub: FakeHub) -> None:
    models("pull", f"hf:{REPO}:Q4_K_M", f"hf:{OTHER}")
    assert models("update").stderr == "llamacli: 2 files compared, 0 changed\n"
    hub.files[REPO]["Tiny-Q4_K_M.gguf"] += b"more"
    new = hashlib.sha256(hub.files[REPO]["Tiny-Q4_K_M.gguf"]).hexdigest()
    del hub.files[OTHER]
    result = models("update")
    assert result.stderr == "llamacli: 2 files compared, 2 changed\n"
    rows = {line.split()[0]: line.split()[2] for line in result.stdout.splitlines()[1:]}
    assert rows == {f"hf:{REPO}:Tiny-Q4_K_M.gguf": new[:12], f"hf:{OTHER}:Tiny-Coder-Q8_0.gguf": "removed"}
    states = {one["reference"]: one["state"] for one in json.loads(models("update", "--json").stdout)}
    assert sorted(states.values()) == ["changed", "removed"]
