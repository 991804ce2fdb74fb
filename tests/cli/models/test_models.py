"""`llamacli models`: listing, fetching, removing, choosing and quantizing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_hub
import pytest
import tiny
from fake_hub import COMMIT, FakeHub
from fakes import Result, invoke

from llamacli.backend.child.quantizer import quantize
from llamacli.cli.framework.console import Terminals
from llamacli.cli.framework.context import find_model
from llamacli.engine.quantization.types import Quantization
from llamacli.gguf.check.loadable import check_file
from llamacli.gguf.model import read_files
from llamacli.store.files import paths
from llamacli.store.models import catalogue, web
from llamacli.store.models import download as transfer

REPO = "user/Tiny-GGUF"


def models(*arguments: str, **options: object) -> Result:
    return invoke("models", *arguments, **{"find_model": find_model, **options})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Iterator[FakeHub]:
    monkeypatch.setattr(transfer, "RETRY_DELAYS", (0.0,))
    with fake_hub.running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        data = tiny_model.read_bytes()
        server.files[REPO] = {"Tiny-Q4_K_M.gguf": data, "Tiny-Q8_0.gguf": data + bytes(32), "mmproj-F16.gguf": data}
        yield server


@pytest.fixture
def demo(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small file in the place of the demo model."""
    data = tiny_model.read_bytes()
    entry = replace(catalogue.DEMO, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(catalogue, "DEMO", entry)
    monkeypatch.setattr(catalogue, "ENTRIES", (entry,))
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(data)
    return entry.path


def set_default(model: str) -> None:
    path = paths.settings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'[defaults]\nmodel = "{model}"\n[aliases]\nmine = "{model}"\n')


# --- list --------------------------------------------------------------------------------------------------------------------


def test_nothing_is_here() -> None:
    assert models("list").stdout == "No models on this machine; `llamacli models pull demo` downloads a small one.\n"
    assert json.loads(models("list", "--json").stdout) == {"object": "list", "data": []}


def test_list_of_everything(demo: Path, hub: FakeHub, isolated_home: Path) -> None:
    address = f"{hub.endpoint}/cdn/{REPO}/Tiny-Q8_0.gguf"
    for reference in (f"hf:{REPO}:Q4_K_M", f"hf:{REPO}:mmproj-F16.gguf", address):
        assert models("pull", reference).status == 0
    lmstudio = isolated_home / ".lmstudio" / "models" / "pub" / "repo" / "x-Q5_0.gguf"
    lmstudio.parent.mkdir(parents=True)
    lmstudio.write_bytes(b"GGUF")
    set_default(f"hf:{REPO}:Q4_K_M")
    lines = [line.split() for line in models("list").stdout.splitlines()]
    assert lines[0] == ["MODEL", "SIZE", "TYPE", "KEPT", "BY", "ALIASES"]
    assert [(line[0], line[-1]) if line[0] != "*" else tuple(line[:2]) for line in lines[1:]] == [
        ("smollm2-135m", "llamacli"), (address, "web"), ("*", f"hf:{REPO}:Q4_K_M"), ("lmstudio:pub/repo/x-Q5_0.gguf", "Studio")
    ]  # fmt: skip
    data = json.loads(models("list", "--json").stdout)["data"]
    assert [one["id"] for one in data if one["default"]] == [f"hf:{REPO}:Q4_K_M"]
    chosen = next(one for one in data if one["default"])
    assert (chosen["quantization"], chosen["kept_by"], chosen["aliases"]) == ("Q4_K_M", "hub", ["mine"])
    for one in data:
        assert models("path", one["id"]).stdout.strip() == one["path"]


def test_every_listed_reference_names_one_model(hub: FakeHub) -> None:
    data = hub.files[REPO]["Tiny-Q4_K_M.gguf"]
    hub.files[REPO] = {"a/Tiny-Q4_0.gguf": data, "b/Tiny-Q4_0.gguf": data + b"1", "plain.gguf": data + b"2"}
    for name in hub.files[REPO]:
        assert models("pull", f"hf:{REPO}:{name}").status == 0
    found = json.loads(models("list", "--json").stdout)["data"]
    assert [one["id"] for one in found] == [f"hf:{REPO}:{name}" for name in sorted(hub.files[REPO])]
    assert len({models("path", one["id"]).stdout for one in found}) == 3


def test_hostile_names_do_not_reach_a_terminal(isolated_home: Path) -> None:
    lmstudio = isolated_home / ".lmstudio" / "models" / "p\x1b[31m" / "r" / "x.gguf"
    lmstudio.parent.mkdir(parents=True)
    lmstudio.write_bytes(b"GGUF")
    result = models("list", terminals=Terminals(stdout=True))
    assert "\x1b" not in result.stdout
    assert "lmstudio:p\\x1b[31m/r/x.gguf" in result.stdout


# --- pull --------------------------------------------------------------------------------------------------------------------


def test_pull_asks_for_the_newest(hub: FakeHub) -> None:
    first = models("pull", f"hf:{REPO}:Q4_K_M").stdout.strip()
    hub.listing = {"sha": "f" * 40, "siblings": [
        {"rfilename": "Tiny-Q4_K_M.gguf", "size": len(data := hub.files[REPO]["Tiny-Q8_0.gguf"]),
         "lfs": {"sha256": hashlib.sha256(data).hexdigest()}}]}  # fmt: skip
    hub.files[REPO]["Tiny-Q4_K_M.gguf"] = data
    second = models("pull", f"hf:{REPO}:Q4_K_M").stdout.strip()
    assert (COMMIT in first, "f" * 40 in second) == (True, True)
    assert models("path", f"hf:{REPO}:Q4_K_M").stdout.strip() == second


def test_pull_twice_fetches_once(hub: FakeHub) -> None:
    for _ in range(2):
        assert models("pull", f"hf:{REPO}:Q4_K_M", f"hf:{REPO}:Q8_0").status == 0
    assert len(hub.bodies()) == 2


def test_pull_from_an_address_again(hub: FakeHub) -> None:
    address = f"{hub.endpoint}/cdn/{REPO}/Tiny-Q8_0.gguf"
    for arguments, bodies in (((), 1), ((), 1), (("--force",), 2)):
        assert models("pull", address, *arguments).status == 0
        assert len(hub.bodies()) == bodies


def test_pull_checks_what_is_here(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models("pull", "demo").stdout == f"{demo}\n"
    demo.write_bytes(bytes(demo.stat().st_size))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = models("pull", "demo")
    assert (result.status, result.stdout) == (3, "")
    assert "is not on this machine" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("hf:user/none",), 3, "repository user/none not found on the hub (if it is private, set HF_TOKEN)"),
        ((f"hf:{REPO}:Q2_K",), 3, f"{REPO} has no Q2_K (it has Q4_K_M, Q8_0)"),
        (("hf:../x",), 2, "invalid hub reference hf:../x"),
        (("--offline", f"hf:{REPO}"), 3, f"hf:{REPO} is not on this machine, and --offline"),
        (("nothing",), 3, "unknown model nothing"),
        ((), 2, "MODEL is missing"),
    ],
)
def test_pull_fails(hub: FakeHub, arguments: tuple[str, ...], status: int, message: str) -> None:
    result = models("pull", *arguments)
    assert (result.status, result.stdout) == (status, "")
    assert message in result.stderr


def test_pull_shows_progress_on_a_terminal(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    result = models("pull", f"hf:{REPO}:Q8_0", terminals=Terminals(stderr=True))
    assert "downloading Tiny-Q8_0.gguf" in result.stderr
    elsewhere = models("pull", f"hf:{REPO}:Q4_K_M").stderr
    assert elsewhere.startswith("llamacli: downloading Tiny-Q4_K_M.gguf (")
    assert f" into {paths.hub_cache()}" in elsewhere
    assert elsewhere.count("\n") == 1


# --- rm ----------------------------------------------------------------------------------------------------------------------


def everything() -> list[str]:
    folders = (paths.models_dir(), paths.hub_cache())
    return [path.name for folder in folders for path in folder.rglob("*.gguf") if not path.name.startswith(".")]


def test_rm_of_each_kind(demo: Path, hub: FakeHub) -> None:
    address = f"{hub.endpoint}/cdn/{REPO}/Tiny-Q8_0.gguf"
    models("pull", f"hf:{REPO}:Q4_K_M", address)
    for reference in ("demo", f"hf:{REPO}:Q4_K_M", address):
        result = models("rm", reference)
        assert (result.status, result.stdout) == (0, "")
        assert result.stderr.startswith(f"llamacli: removed {reference}: 1 file, ")
        again = models("rm", reference)
        assert (again.status, "is not on this machine" in again.stderr) == (3, True)
    assert everything() == []
    assert list((paths.models_dir() / "web").glob("*/*")) == []
    assert not [path for path in paths.hub_cache().glob("*/blobs/*") if path.suffix != ".lock"]


def test_rm_keeps_what_another_revision_needs(hub: FakeHub) -> None:
    models("pull", f"hf:{REPO}:Q4_K_M")
    hub.files[REPO]["renamed-Q5_0.gguf"] = hub.files[REPO].pop("Tiny-Q4_K_M.gguf")
    models("pull", f"hf:{REPO}:Q5_0")
    assert "1 file, 0 B free" in models("rm", f"hf:{REPO}:Q4_K_M").stderr
    assert Path(models("path", f"hf:{REPO}:Q5_0").stdout.strip()).read_bytes()[:4] == b"GGUF"


def test_rm_guesses_nothing(hub: FakeHub) -> None:
    models("pull", f"hf:{REPO}:Q4_K_M", f"hf:{REPO}:Q8_0")
    result = models("rm", f"hf:{REPO}")
    assert (result.status, "has 2 models on this machine (name one: Q4_K_M, Q8_0)" in result.stderr) == (2, True)
    assert models("rm", f"hf:{REPO}:Q8_0").status == 0
    assert models("rm", f"hf:{REPO}").status == 0
    assert everything() == []


def test_rm_of_a_split_model(hub: FakeHub, directory: Path) -> None:
    parts = tiny.split_model(directory, parts=3)
    hub.files[REPO] = {part.name: part.read_bytes() for part in parts}
    assert models("pull", f"hf:{REPO}").status == 0
    assert "3 files" in models("rm", f"hf:{REPO}").stderr
    assert everything() == []


def test_rm_touches_nothing_else(directory: Path, isolated_home: Path, demo: Path) -> None:
    mine = directory / "mine.gguf"
    mine.write_bytes(b"GGUF")
    lmstudio = isolated_home / ".lmstudio" / "models" / "p" / "r" / "x.gguf"
    lmstudio.parent.mkdir(parents=True)
    lmstudio.write_bytes(b"GGUF")
    for reference, message in (
        ("mine.gguf", "was not downloaded by llamacli"), ("./mine.gguf", "was not downloaded by llamacli"),
        (str(demo), "was not downloaded by llamacli"),
        ("lmstudio:p/r/x.gguf", "belongs to another program (remove it with LM Studio)"),
        ("ollama:x", "belongs to another program (remove it with `ollama rm`)"),
    ):  # fmt: skip
        result = models("rm", reference)
        assert (result.status, message in result.stderr) == (2, True), result.stderr
    assert mine.exists()
    assert lmstudio.exists()
    assert demo.exists()


HOSTILE = [
    "..", "../..", "/", "/etc/passwd", "~", "", " ", "\0", "hf:", "hf:..", "hf:../..", "hf:a/..", "hf:a/b:../../../x",
    "hf:a/b@../..:x", "https://../../x", "https://h/../../../x.gguf", "https://h/%2e%2e%2fx", "ollama:../../x",
    "lmstudio:../../x",
]  # fmt: skip


@pytest.mark.parametrize("reference", HOSTILE, ids=range(len(HOSTILE)))
def test_rm_does_not_leave_the_store(reference: str, isolated_home: Path, demo: Path) -> None:
    keep = isolated_home / "x.gguf"
    keep.write_bytes(b"GGUF")
    before = sorted(path for path in isolated_home.rglob("*") if path.is_file())
    assert models("rm", "--", reference).status in (2, 3)
    assert [path for path in before if not path.exists()] == []


def test_rm_follows_no_link_out_of_the_cache(hub: FakeHub, directory: Path) -> None:
    models("pull", f"hf:{REPO}:Q4_K_M")
    pointer = Path(models("path", f"hf:{REPO}:Q4_K_M").stdout.strip())
    precious = directory / "precious.gguf"
    precious.write_bytes(b"GGUF")
    pointer.unlink()
    pointer.symlink_to(precious)
    assert models("rm", f"hf:{REPO}:Q4_K_M").status == 0
    assert precious.exists()
    assert not pointer.is_symlink()


# --- path, show, default -----------------------------------------------------------------------------------------------------


def test_path_fetches_nothing(hub: FakeHub) -> None:
    result = models("path", f"hf:{REPO}")
    assert (result.status, result.stdout) == (3, "")
    assert f"hf:{REPO} is not on this machine (`llamacli models pull hf:{REPO}` downloads it)" in result.stderr
    assert hub.requests == []


def test_show(demo: Path, directory: Path) -> None:
    lines = dict(
        line.split(None, 1)
        for line in models("show").stdout.replace("chat template", "template").replace("kept by", "by").splitlines()
    )
    assert (lines["model"], lines["file"], lines["by"], lines["architecture"]) == (
        "smollm2-135m",
        str(demo),
        "llamacli",
        "llama",
    )
    shutil.copy(demo, directory / "mine.gguf")
    document = json.loads(models("show", "mine.gguf", "--json").stdout)
    assert (document["id"], document["kept_by"], document["context_length"]) == ("mine.gguf", None, 512)


def test_show_of_a_broken_file(directory: Path) -> None:
    (directory / "x.gguf").write_bytes(b"GGUF")
    result = models("show", "x.gguf")
    assert (result.status, result.stdout) == (3, "")


def test_the_default_model(demo: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models("default").stdout == "smollm2-135m\n"
    shutil.copy(demo, directory / "mine.gguf")
    for reference, stored in (("mine.gguf", str(directory / "mine.gguf")), ("hf:u/r:Q4_0", "hf:u/r:Q4_0"), ("demo", "demo")):
        assert models("default", reference).status == 0
        assert models("default").stdout == f"{stored}\n"
    monkeypatch.setenv("LLAMACLI_MODEL", "mine.gguf")
    assert models("default", environ={"LLAMACLI_MODEL": "mine.gguf"}).stdout == "mine.gguf\n"


@pytest.mark.parametrize("reference", ["", "none.gguf", "nothing", "hf:x", "http://example.org/x.gguf", "ollama:none"])
def test_what_cannot_be_the_default(reference: str) -> None:
    assert models("default", reference).status in (2, 3)
    assert not paths.settings_file().exists()


# --- quantize ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of which the rows are long enough for every quantization."""
    return tiny.tiny_model(tmp_path_factory.mktemp("wide") / "wide-f32.gguf", width=256, feed_forward=512)


@pytest.mark.parametrize("name", ["Q8_0", "q4_k_m", "F16", "Q4_K", "IQ4_XS"])
def test_quantize(wide_model: Path, directory: Path, name: str) -> None:
    result = models("quantize", str(wide_model), "out.gguf", name)
    assert (result.status, result.stdout) == (0, ""), result.stderr
    out = directory / "out.gguf"
    check_file(out)
    forecast = models("quantize", "--forecast", str(wide_model), "other.gguf", name)
    assert forecast.stdout.split(":")[1].strip() in result.stderr
    assert [path.name for path in directory.iterdir()] == ["out.gguf"]
    again = models("quantize", str(wide_model), "out.gguf", name)
    assert (again.status, "out.gguf exists" in again.stderr) == (2, True)


def test_the_forecast_is_right(wide_model: Path, directory: Path) -> None:
    sizes = quantize(Quantization(source=str(wide_model), type_name="Q8_0"), directory / "o.gguf")
    files = read_files(directory / "o.gguf")
    assert sum(tensor.size for tensor in files.tensors) == pytest.approx(sizes.after, abs=20_000)
    assert sizes.before > 3 * sizes.after


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("wide.gguf", "o.gguf", "Q9"), 2, "unknown quantization Q9 (known types are BF16, F16, F32"),
        (("wide.gguf", "o.gguf", "Q4_KM"), 2, "unknown quantization Q4_KM (did you mean Q4_K_M?)"),
        (("none.gguf", "o.gguf", "Q8_0"), 3, "file not found: none.gguf"),
        (("wide.gguf", "o.gguf", "IQ2_XXS"), 3, "IQ2_XXS needs an importance matrix"),
        (("q8.gguf", "o.gguf", "Q4_0"), 3, "is quantized already"),
        (("broken.gguf", "o.gguf", "Q4_0"), 3, "broken.gguf"),
        (("wide.gguf", "none/o.gguf", "Q4_0"), 1, "cannot write none/o.gguf: No such file or directory"),
        (("wide.gguf", "wide.gguf", "Q4_0"), 2, "wide.gguf exists"),
        (("wide.gguf", "o.gguf"), 2, "TYPE is missing"),
    ],
)  # fmt: skip
def test_quantize_fails(wide_model: Path, directory: Path, arguments: tuple[str, ...], status: int, message: str) -> None:
    shutil.copy(wide_model, directory / "wide.gguf")
    (directory / "broken.gguf").write_bytes(wide_model.read_bytes()[:-1000])
    if arguments[0] == "q8.gguf":
        models("quantize", "wide.gguf", "q8.gguf", "Q8_0")
    before = sorted(path.name for path in directory.iterdir())
    result = models("quantize", *arguments)
    assert (result.status, message in result.stderr) == (status, True), result.stderr
    assert sorted(path.name for path in directory.iterdir()) == before


def test_quantize_again_if_one_insists(wide_model: Path, directory: Path) -> None:
    models("quantize", str(wide_model), "q8.gguf", "Q8_0")
    assert models("quantize", "--allow-requantize", "q8.gguf", "o.gguf", "Q4_0").status == 0


def test_an_interrupted_quantization_leaves_nothing(directory: Path) -> None:
    big = tiny.tiny_model(directory / "big.gguf", width=512, feed_forward=2048, layers=8)
    command = [sys.executable, "-m", "llamacli", "models", "quantize", "-t", "1", str(big), "o.gguf", "IQ3_S"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None and not list(directory.glob(".o.gguf.*")):
        time.sleep(0.01)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert (process.returncode, stderr) == (130, "")
    assert time.monotonic() - started < 2
    assert [path.name for path in directory.iterdir()] == ["big.gguf"]


def types_of(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type.name for tensor in read_files(path).tensors}


@pytest.fixture
def text(directory: Path) -> Path:
    path = directory / "text.txt"
    path.write_text("The harbour was quiet when the first boats came home. " * 40)
    return path


def test_an_importance_matrix_makes_the_smallest_types_possible(wide_model: Path, directory: Path, text: Path) -> None:
    arguments = ("imatrix", "-m", str(wide_model), str(text), "-o", "i.gguf", "-c", "32", "--chunks", "8", "-t", "1")
    collected = models(*arguments)
    assert (collected.status, collected.stdout) == (0, ""), collected.stderr
    assert "i.gguf: 14 weights, 8 chunks" in collected.stderr
    assert models("quantize", str(wide_model), "o.gguf", "IQ2_XXS", "--imatrix", "i.gguf").status == 0
    assert "IQ2_XXS" in types_of(directory / "o.gguf").values()
    written = read_files(directory / "o.gguf").header
    assert written.text("quantize.imatrix.file") == "i.gguf"
    assert written.integer("quantize.imatrix.chunks_count") == 8
    again = models(*arguments)
    assert (again.status, "exists already" in again.stderr) == (2, True)
    added = models("imatrix", "--in-file", "i.gguf", "--in-file", "i.gguf", "-o", "sum.gguf")
    assert "sum.gguf: 14 weights, 16 chunks" in added.stderr
    assert [path.name for path in directory.glob(".*")] == []


def test_a_matrix_of_another_model_is_refused(wide_model: Path, tiny_model: Path, directory: Path, text: Path) -> None:
    models("imatrix", "-m", str(tiny_model), str(text), "-o", "i.gguf", "-c", "32", "--chunks", "1", "-t", "1")
    result = models("quantize", str(wide_model), "o.gguf", "Q4_K_M", "--imatrix", "i.gguf")
    assert (result.status, "does not fit" in result.stderr) == (3, True), result.stderr
    assert not (directory / "o.gguf").exists()


def test_recipes_choose_the_types_of_tensors(wide_model: Path, directory: Path) -> None:
    (directory / "recipe").write_text("ffn_down=Q8_0\nattn_v=Q6_K\n")
    how = ("--tensor-type", r"blk\.0\.ffn_down=Q5_K", "--tensor-type-file", "recipe")
    more = ("--output-tensor-type", "q8_0", "--token-embedding-type", "f16")
    assert models("quantize", str(wide_model), "o.gguf", "Q4_K_M", *how, *more).status == 0
    types = types_of(directory / "o.gguf")
    found = [types[name] for name in ("blk.0.ffn_down.weight", "blk.1.ffn_down.weight", "blk.0.attn_v.weight",
                                      "output.weight", "token_embd.weight")]  # fmt: skip
    assert found == ["Q5_K", "Q8_0", "Q6_K", "Q8_0", "F16"]


def test_a_rule_for_no_tensor_is_warned_of(tiny_model: Path, directory: Path) -> None:
    rules = ("--tensor-type", "ffn_dwn=Q5_K", "--tensor-type", "ffn_down=F16")
    result = models("quantize", "--forecast", str(tiny_model), "o.gguf", "Q8_0", *rules)
    assert result.status == 0, result.stderr
    assert [line for line in result.stderr.splitlines() if "no tensor has a name with" in line] == [
        "llamacli: warning: no tensor has a name with 'ffn_dwn': its rule has no effect"
    ]


def test_a_dry_run_tells_size_and_speed(wide_model: Path, directory: Path) -> None:
    result = models("quantize", "--dry-run", str(wide_model), "o.gguf", "Q8_0", "-t", "1")
    assert result.status == 0, result.stderr
    assert "Q8_0: 5." in result.stdout
    assert "prompt: " in result.stdout
    assert "generation: " in result.stdout
    unknown = models("quantize", "--dry-run", str(wide_model), "o.gguf", "IQ2_XXS")
    assert "needs an importance matrix: make one" in unknown.stderr
    assert list(directory.iterdir()) == []


def test_the_loss_is_measured_if_asked_for(wide_model: Path, directory: Path) -> None:
    result = models("quantize", "--measure-loss", str(wide_model), "o.gguf", "Q4_K_M")
    assert result.status == 0, result.stderr
    assert "KL divergence 0." in result.stdout
    assert "16 windows of the shipped text" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("quantize", "m.gguf", "o.gguf", "Q8_0", "--tensor-type", "x"), "is not PATTERN=TYPE"),
        (("quantize", "m.gguf", "o.gguf", "Q8_0", "--imatrix", "none"), "cannot read"),
        (("quantize", "m.gguf", "o.gguf", "Q8_0", "--measure-loss", "--dry-run"), "--measure-loss needs a result"),
        (("imatrix", "-m", "m.gguf", "x.txt"), "-o is missing"),
        (("imatrix", "-o", "i.gguf"), "nothing to collect from"),
        (("imatrix", "-o", "i.gguf", "x.txt", "--chunks", "0"), "--chunks must be at least 1"),
        (("imatrix", "-o", "i.gguf", "--in-file", "m.gguf"), "is not an importance matrix"),
    ],
)
def test_mistakes_with_matrices_and_recipes(
    wide_model: Path, directory: Path, arguments: tuple[str, ...], message: str
) -> None:
    shutil.copy(wide_model, directory / "m.gguf")
    result = models(*arguments)
    assert (result.status, message in result.stderr) == (2, True), result.stderr
    assert [path.name for path in directory.iterdir()] == ["m.gguf"]


def test_a_matrix_of_no_model_says_what_is_missing(directory: Path) -> None:
    (directory / "x.txt").write_text("text")
    result = models("imatrix", "-m", "none.gguf", "x.txt", "-o", "i.gguf")
    assert (result.status, result.stderr.startswith("llamacli: error: file not found: none.gguf")) == (3, True), result.stderr
    assert [path.name for path in directory.iterdir()] == ["x.txt"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the child in /proc")
def test_a_quantization_whose_process_dies_leaves_nothing(directory: Path) -> None:
    big = tiny.tiny_model(directory / "big.gguf", width=512, feed_forward=2048, layers=8)
    command = [sys.executable, "-m", "llamacli", "models", "quantize", "-t", "1", str(big), "o.gguf", "IQ3_S"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(path.stat().st_size for path in directory.glob(".o.gguf.*")):
        time.sleep(0.01)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGSEGV)
    stderr = process.communicate(timeout=60)[1]
    assert (process.returncode, stderr.count("\n")) == (7, 1)
    assert stderr.startswith("llamacli: error: the engine died (SIGSEGV)")
    assert [path.name for path in directory.iterdir()] == ["big.gguf"]


def test_the_addresses_of_the_web_store_are_read_back(hub: FakeHub) -> None:
    models("pull", f"{hub.endpoint}/cdn/{REPO}/Tiny-Q8_0.gguf?a=b")
    note = next((paths.models_dir() / "web").glob("*/*/address"))
    assert [one.address for one in web.stored()] == [note.read_text()]
    note.write_text("not an address")
    assert web.stored() == []
