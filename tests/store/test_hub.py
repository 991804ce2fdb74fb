"""Models of the hub, against a local server that speaks its protocol, slow and broken ones too."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import pytest
from fake_hub import COMMIT, Behaviour, FakeHub

from llamacli.errors import DownloadError, LlamacliError, ModelNotFoundError, UsageError
from llamacli.store.files import paths
from llamacli.store.files.atomic import Progress
from llamacli.store.models import download as transfer
from llamacli.store.models import hub as hub_module
from llamacli.store.models import resolve as models

REPO = "some-user/Model-GGUF"
MODEL = b"GGUF" + hashlib.shake_256(b"model").digest(300_000)
SMALL = b"GGUF" + hashlib.shake_256(b"small").digest(50_000)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(transfer, "RETRY_DELAYS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(transfer, "TIMEOUT_SECONDS", 5.0)
    with fake_hub.running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        server.files[REPO] = {
            "Model-Q4_K_M.gguf": MODEL,
            "Model-Q8_0.gguf": MODEL + SMALL,
            "mmproj-F16.gguf": SMALL,
            "README.md": b"x",
        }
        yield server


def fetch(reference: str, **options: object) -> Path:
    return models.resolve(reference, **options)  # type: ignore[arg-type]


def complete_files() -> list[str]:
    """What in the cache looks like a finished model."""
    snapshots = [path.name for path in paths.hub_cache().glob("*/snapshots/*/**/*") if path.is_file()]
    blobs = [path.name for path in paths.hub_cache().glob("*/blobs/*") if ".incomplete" not in path.name]
    return [*snapshots, *blobs]


def test_a_file_arrives_in_the_shared_layout(hub: FakeHub) -> None:
    seen: list[Progress] = []
    path = fetch(f"hf:{REPO}", on_progress=seen.append)
    assert path.read_bytes() == MODEL
    assert path == paths.hub_cache() / "models--some-user--Model-GGUF" / "snapshots" / COMMIT / "Model-Q4_K_M.gguf"
    assert path.is_symlink()
    assert path.resolve().name == hashlib.sha256(MODEL).hexdigest()
    assert (path.parents[2] / "refs" / "main").read_text() == COMMIT
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, len(MODEL), len(MODEL))


@pytest.mark.parametrize(
    ("selector", "name"),
    [
        ("", "Model-Q4_K_M.gguf"), (":Q8_0", "Model-Q8_0.gguf"), (":q8_0", "Model-Q8_0.gguf"),
        (":Model-Q8_0.gguf", "Model-Q8_0.gguf"), ("/Model-Q8_0.gguf", "Model-Q8_0.gguf"),
        (":mmproj-F16.gguf", "mmproj-F16.gguf"), ("@main:Q8_0", "Model-Q8_0.gguf"), (f"@{COMMIT}:Q8_0", "Model-Q8_0.gguf"),
    ],
)  # fmt: skip
def test_files_are_chosen_by_name(hub: FakeHub, selector: str, name: str) -> None:
    assert fetch(f"hf:{REPO}{selector}").name == name


def test_what_is_in_the_cache_is_used_without_asking(hub: FakeHub) -> None:
    path = fetch(f"hf:{REPO}:Q4_K_M")
    hub.requests.clear()
    assert fetch(f"hf:{REPO}:Q4_K_M") == path
    assert fetch(f"hf:{REPO}:Q4_K_M", offline=True) == path
    assert fetch(f"hf:{REPO}", offline=True) == path
    assert hub.requests == []


def test_huggingface_hub_finds_what_we_fetched(hub: FakeHub) -> None:
    pytest.importorskip("huggingface_hub")
    path = fetch(f"hf:{REPO}:Q4_K_M")
    hub.requests.clear()
    code = f"import huggingface_hub as h; print(h.hf_hub_download({REPO!r}, 'Model-Q4_K_M.gguf'))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == str(path)
    assert hub.bodies() == []


def test_we_find_what_huggingface_hub_fetched(hub: FakeHub) -> None:
    pytest.importorskip("huggingface_hub")
    code = f"import huggingface_hub as h; print(h.hf_hub_download({REPO!r}, 'Model-Q8_0.gguf'))"
    environment = {**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    hub.requests.clear()
    assert str(fetch(f"hf:{REPO}:Q8_0")) == done.stdout.strip()
    assert hub.requests == []


@pytest.mark.parametrize("name", ["LLAMA_CACHE", "HF_HUB_CACHE", "HF_HOME"])
def test_the_cache_is_where_the_environment_says(
    hub: FakeHub, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(tmp_path))
    assert fetch(f"hf:{REPO}").is_relative_to(tmp_path / ("hub" if name == "HF_HOME" else ""))


def test_a_browser_address_of_the_hub_is_the_same_model() -> None:
    from llamacli.store.models import web

    base = "https://huggingface.co/u/r"
    assert web.hub_reference(base) == "hf:u/r"
    assert web.hub_reference(f"{base}/resolve/main/a/b.gguf?download=true") == "hf:u/r:a/b.gguf"
    assert web.hub_reference(f"{base}/blob/v2/b.gguf") == "hf:u/r@v2:b.gguf"
    assert web.hub_reference("https://example.org/u/r") is None


# --- choosing ----------------------------------------------------------------------------------------------------------------


def test_the_choice_follows_memory(hub: FakeHub) -> None:
    hub.files[REPO] = {f"m-{quant}.gguf": b"GGUF" + bytes(size) for quant, size in
                       (("Q2_K", 1000), ("Q3_K_S", 2000), ("Q4_K_M", 4000), ("Q6_K", 6000))}  # fmt: skip
    reference = hub_module.parse(f"hf:{REPO}")
    for memory, name in ((1 << 40, "m-Q4_K_M.gguf"), (4100, "m-Q4_K_M.gguf"), (3000, "m-Q3_K_S.gguf"), (10, "m-Q2_K.gguf")):
        path = hub_module.fetch(reference, offline=False, on_progress=lambda _: None, memory=memory, refresh=True)
        assert path.name == name


def test_split_models_come_whole(hub: FakeHub) -> None:
    names = [f"Q4_K_M/big-Q4_K_M-0000{index}-of-00003.gguf" for index in (1, 2, 3)]
    hub.files[REPO] = {name: b"GGUF" + name.encode() for name in names}
    path = fetch(f"hf:{REPO}:Q4_K_M")
    assert path.name == "big-Q4_K_M-00001-of-00003.gguf"
    assert [path.with_name(name.rpartition("/")[2]).read_bytes()[4:].decode() for name in names] == names


def test_a_split_model_with_a_missing_part_is_no_model(hub: FakeHub) -> None:
    hub.files[REPO] = {"big-00001-of-00002.gguf": MODEL}
    with pytest.raises(ModelNotFoundError, match="no GGUF file"):
        fetch(f"hf:{REPO}")


def test_an_unknown_quantization_names_what_there_is(hub: FakeHub) -> None:
    with pytest.raises(ModelNotFoundError, match=r"has no Q5_K_M \(it has Q4_K_M, Q8_0\)"):
        fetch(f"hf:{REPO}:Q5_K_M")


def test_an_ambiguous_name_is_refused(hub: FakeHub) -> None:
    with pytest.raises(UsageError, match=r"more than one Q \(name one: Model-Q4_K_M.gguf, Model-Q8_0.gguf\)"):
        fetch(f"hf:{REPO}:Q")
    hub.files[REPO] = dict.fromkeys(("code-Q8_0.gguf", "story-Q8_0.gguf", "story-Q4_K_M.gguf", "code-Q4_K_M.gguf"), MODEL)
    for selector, quantization in ((":Q8_0", "Q8_0"), (":q8_0", "q8_0"), ("", "Q4_K_M")):
        files = f"code-{quantization.upper()}.gguf, story-{quantization.upper()}.gguf"
        with pytest.raises(UsageError, match=rf"has more than one {quantization} \(name one: {files}\)"):
            fetch(f"hf:{REPO}{selector}")
    assert hub.bodies() == []
    assert fetch(f"hf:{REPO}:story-Q8_0.gguf").name == "story-Q8_0.gguf"
    assert fetch(f"hf:{REPO}:code-Q8_0").name == "code-Q8_0.gguf"
    with pytest.raises(UsageError, match="more than one Q8_0"):  # both are in the cache now
        fetch(f"hf:{REPO}:Q8_0")


COMPANIONS = (
    "mmproj-Q8_0.gguf", "Model-mmproj-Q8_0.gguf", "Model-imatrix-Q8_0.gguf", "mtp-Model-Q8_0.gguf", "Model-MTP-Q8_0.gguf",
    "MTP/Model-Q8_0.gguf", "draft/Model-Q8_0.gguf", "Model-draft-Q8_0.gguf", "Model-eagle3-Q8_0.gguf", "Model.lora.Q8_0.gguf",
    "Model_adapter_Q8_0.gguf", "Model-nextn-Q8_0.gguf", "Model-projector-Q8_0.gguf", "Model-vocab-Q8_0.gguf",
)  # fmt: skip


@pytest.mark.parametrize("companion", COMPANIONS)
def test_companion_files_never_win_over_the_model(hub: FakeHub, companion: str) -> None:
    name = "zoo/Model-Q8_0.gguf"  # later in the alphabet than any of them
    hub.files[REPO] = {companion: SMALL, name: MODEL}
    for reference in (f"hf:{REPO}", f"hf:{REPO}:Q8_0", f"hf:{REPO}:Model"):
        assert fetch(reference).name == "Model-Q8_0.gguf"
    assert [request.path.rpartition("/")[2] for request in hub.bodies()] == ["Model-Q8_0.gguf"]
    assert fetch(f"hf:{REPO}:{companion}").read_bytes() == SMALL  # but it can be named
    assert fetch(f"hf:{REPO}:Q8_0").name == "Model-Q8_0.gguf"


def test_a_repository_of_nothing_but_drafts_has_models(hub: FakeHub) -> None:
    hub.files[REPO] = {"Model-draft-Q4_K_M.gguf": MODEL, "mmproj-Q4_K_M.gguf": SMALL}
    assert fetch(f"hf:{REPO}:Q4_K_M").name == "Model-draft-Q4_K_M.gguf"


# --- refusals ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "token", "message"),
    [
        (404, "RepoNotFound", None, "repository some-user/Model-GGUF not found"),
        (401, "RepoNotFound", None, "set HF_TOKEN"),
        (401, None, "hf_x", "refuses your token"),
        (401, "GatedRepo", None, "is gated .*HF_TOKEN"),
        (403, "GatedRepo", "hf_x", "your token has no access"),
        (403, None, "hf_x", "your token has no access"),
        (404, "RevisionNotFound", None, "no revision main"),
        (418, None, None, "responded 418"),
        (503, None, None, "responded 503"),
        (429, None, None, "limits the requests"),
    ],
)
def test_the_hubs_errors_become_one_clear_line(
    hub: FakeHub, status: int, code: str | None, token: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    for place in ("api", "file"):
        hub.api = Behaviour(status=status, error_code=code) if place == "api" else Behaviour()
        hub.behaviour["Model-Q4_K_M.gguf"] = Behaviour(status=status, error_code=code)
        with pytest.raises((DownloadError, ModelNotFoundError), match=message) as caught:
            fetch(f"hf:{REPO}")
        assert "\n" not in str(caught.value)
    assert complete_files() == []


def test_the_token_goes_to_the_hub_and_not_to_its_storage(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(f"hf:{REPO}")
    sent = {one.path.split("/")[1]: one.headers.get("Authorization") for one in hub.requests}
    assert sent == {"api": "Bearer hf_secret", "some-user": "Bearer hf_secret", "cdn": None}


def test_the_token_of_a_login_is_used(isolated_home: Path) -> None:
    (isolated_home / ".cache" / "huggingface").mkdir(parents=True)
    (isolated_home / ".cache" / "huggingface" / "token").write_text("hf_stored\n")
    assert paths.hub_token() == "hf_stored"


@pytest.mark.parametrize(
    "body",
    [b"<html>please log in</html>", b"", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"sha": 1}', b'{"sha": "../../etc"}',
     b'{"sha": "COMMIT"}', b'{"sha": "COMMIT", "siblings": 7}', b'{"sha": "COMMIT", "siblings": [null]}'],
)  # fmt: skip
def test_a_listing_that_is_none_is_refused(hub: FakeHub, body: bytes) -> None:
    hub.api = Behaviour(body=body.replace(b"COMMIT", COMMIT.encode()), content_type="text/html")
    with pytest.raises(DownloadError, match="did not respond like the Hugging Face hub"):
        fetch(f"hf:{REPO}")


def test_offline_forbids_the_network(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DownloadError, match=r"--offline.*models pull hf:some-user/Model-GGUF"):
        fetch(f"hf:{REPO}", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        fetch(f"hf:{REPO}")
    assert hub.requests == []


def test_no_hub_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "RETRY_DELAYS", ())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"cannot reach 127\.0\.0\.1"):
        fetch(f"hf:{REPO}")


# --- broken downloads --------------------------------------------------------------------------------------------------------


def test_a_connection_that_breaks_is_resumed(hub: FakeHub) -> None:
    hub.behaviour["Model-Q4_K_M.gguf"] = Behaviour(cut_after=100_000)
    assert fetch(f"hf:{REPO}").read_bytes() == MODEL
    ranges = [one.headers.get("Range") for one in hub.bodies()]
    assert ranges == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_a_server_that_cannot_resume_starts_over(hub: FakeHub) -> None:
    hub.behaviour["Model-Q4_K_M.gguf"] = Behaviour(cut_after=100_000, times=2, ignore_range=True)
    assert fetch(f"hf:{REPO}").read_bytes() == MODEL


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (Behaviour(cut_after=0), "connection lost"),
        (
            Behaviour(body=b"<!DOCTYPE html><html>" + bytes(len(MODEL) - 21), content_type="text/html"),
            "a web page, not a model",
        ),
        (Behaviour(body=b"\n <html>log in</html>", content_type="text/html; charset=utf-8"), "a web page, not a model"),
        (Behaviour(body=b"too many requests!"), "offers 18 bytes, expected 300,004"),
        (Behaviour(body=MODEL[:-1]), "offers 300,003 bytes"),
        (Behaviour(body=MODEL + b"x"), "offers 300,005 bytes"),
        (Behaviour(body=MODEL[:-1] + b"?"), "does not match the published checksum"),
        (Behaviour(body=bytes(len(MODEL))), "not a GGUF file"),
        (Behaviour(headers={"Content-Encoding": "gzip"}), "compressed"),
        (Behaviour(body=MODEL[:70_000], no_length=True), "the file has changed on the server"),
    ],
)
def test_what_is_not_the_file_never_looks_complete(hub: FakeHub, behaviour: Behaviour, message: str) -> None:
    hub.behaviour["Model-Q4_K_M.gguf"] = behaviour
    with pytest.raises(DownloadError, match=message):
        fetch(f"hf:{REPO}")
    assert complete_files() == []
    hub.behaviour.clear()
    assert fetch(f"hf:{REPO}").read_bytes() == MODEL


@pytest.mark.parametrize("left", [b"rubbish", MODEL[:1000], MODEL, MODEL + b"more", bytes(len(MODEL))])
def test_whatever_an_earlier_run_left_the_result_is_right(hub: FakeHub, left: bytes) -> None:
    digest = hashlib.sha256(MODEL).hexdigest()
    blob = paths.hub_cache() / "models--some-user--Model-GGUF" / "blobs" / f"{digest}.incomplete"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(left)
    assert fetch(f"hf:{REPO}").read_bytes() == MODEL


def test_a_silent_server_is_given_up(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "RETRY_DELAYS", (0.0,))
    monkeypatch.setattr(transfer, "TIMEOUT_SECONDS", 0.2)
    hub.behaviour["Model-Q4_K_M.gguf"] = Behaviour(chunk=10, seconds_per_chunk=1.0)
    started = time.monotonic()
    with pytest.raises(DownloadError, match="timed out"):
        fetch(f"hf:{REPO}")
    assert time.monotonic() - started < 5
    assert complete_files() == []


def test_retry_after_is_obeyed(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    hub.behaviour["Model-Q4_K_M.gguf"] = Behaviour(status=429, times=2, headers={"Retry-After": "7"})
    assert fetch(f"hf:{REPO}").read_bytes() == MODEL
    assert slept.count(7.0) == 2


def test_a_full_disk_is_said_before_the_download(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DownloadError, match=r"needs [\d.]+ KiB, but only .* are free"):
        fetch(f"hf:{REPO}")
    assert complete_files() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_an_error(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DownloadError, match="cannot write"):
        fetch(f"hf:{REPO}")


# --- processes ---------------------------------------------------------------------------------------------------------------

FETCH = "import sys; from llamacli.store.models.resolve import resolve; print(resolve(sys.argv[1]))"


def start(reference: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", FETCH, reference], stdout=subprocess.PIPE, text=True)


def test_two_processes_end_with_one_good_file(hub: FakeHub) -> None:
    hub.behaviour["Model-Q4_K_M.gguf"] = Behaviour(seconds_per_chunk=0.1)
    processes = [start(f"hf:{REPO}") for _ in range(3)]
    answers = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(answers) == 1
    assert Path(answers.pop()).read_bytes() == MODEL
    assert len(hub.bodies()) == 1


def test_a_killed_download_is_resumed(hub: FakeHub) -> None:
    hub.behaviour["Model-Q4_K_M.gguf"] = Behaviour(chunk=1 << 14, seconds_per_chunk=0.05)
    process = start(f"hf:{REPO}")
    deadline = time.monotonic() + 30
    blobs = paths.hub_cache() / "models--some-user--Model-GGUF" / "blobs"
    while time.monotonic() < deadline and not any(path.stat().st_size > 60_000 for path in blobs.glob("*.incomplete")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert complete_files() == []
    hub.behaviour.clear()
    assert fetch(f"hf:{REPO}").read_bytes() == MODEL
    resumed = hub.bodies()[-1].headers["Range"]
    assert int(resumed.removeprefix("bytes=").removesuffix("-")) > 60_000
    assert not list(blobs.glob("*.incomplete*"))


# --- hostile names -----------------------------------------------------------------------------------------------------------

BAD_PARTS = [
    "..", ".", "", " ", "...", "a/../b", "../x", "/etc/passwd", "//x", "a\\..\\b", "C:\\x", "c:x", "a\0b", "a\nb", "\x1b[31m",
    "\u202egguf", "%2e%2e", "~root", "-rf", "a:b:c", "a*b", "a?b", "a|b", "<a>", 'a"b', " a", "a ", ".hidden/..", "a" * 300,
    "x/" * 600 + "x", "a/./b", "a//b", "a/", "\ud800", "\x7f", "..gguf/../..", "....//x", "com1:", "é/../..", "\u2025",
]  # fmt: skip
PLAIN = ("%2e%2e", "~root", "-rf", "\u2025")
"""Odd, but they lead nowhere: as the name of a file they may stand."""
HOSTILE = [
    *(f"hf:{part}/repo" for part in BAD_PARTS),
    *(f"hf:user/{part}" for part in BAD_PARTS if part != "a/"),
    *(f"hf:user/repo:{part}" for part in BAD_PARTS if part not in PLAIN),
    *(f"hf:user/repo@{part}:Q4_0" for part in BAD_PARTS if part not in PLAIN),
    *(f"hf:{part}" for part in BAD_PARTS if part not in ("~root", "a//b", "....//x")),
    "hf:user--x/repo", "hf:user/re--po", "hf:user/repo..x", "hf:./.", "hf:../..", "hf:user", "hf:", "hf:/", "hf:user/repo:",
]  # fmt: skip


@pytest.fixture
def everything_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the home and the cache, so that whatever leaves them shows."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "inner" / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outside(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.is_relative_to(folder / "inner" / "cache") and path.is_file()
    }


@pytest.mark.parametrize("reference", HOSTILE, ids=range(len(HOSTILE)))
def test_no_reference_leads_out_of_the_cache(hub: FakeHub, everything_below: Path, reference: str) -> None:
    with pytest.raises((UsageError, ModelNotFoundError, DownloadError)):
        fetch(reference)
    assert outside(everything_below) == set()
    assert complete_files() == []


def test_there_are_enough_hostile_names() -> None:
    assert len(set(HOSTILE)) >= 160


@pytest.mark.parametrize("part", [part for part in BAD_PARTS if part and part not in PLAIN], ids=lambda part: ascii(part)[:30])
def test_no_name_that_a_server_sends_leads_out_of_the_cache(hub: FakeHub, everything_below: Path, part: str) -> None:
    name = f"{part}/x-Q4_K_M.gguf"
    digest = hashlib.sha256(MODEL).hexdigest()
    hub.listing = {"sha": COMMIT, "siblings": [{"rfilename": name, "size": len(MODEL), "lfs": {"sha256": digest}}]}
    with pytest.raises(ModelNotFoundError, match="no GGUF file"):
        fetch(f"hf:{REPO}")
    assert outside(everything_below) == set()


@pytest.mark.parametrize("digest", ["../../../x", "0" * 63, "g" * 64, "/etc/x", "", 7, None, "0" * 64 + "/.."])
def test_no_hash_that_a_server_sends_leads_out_of_the_cache(hub: FakeHub, everything_below: Path, digest: object) -> None:
    hub.listing = {"sha": COMMIT, "siblings": [{"rfilename": "x-Q4_K_M.gguf", "size": 4, "lfs": {"sha256": digest}}]}
    with pytest.raises(LlamacliError):
        fetch(f"hf:{REPO}")
    assert outside(everything_below) == set()


def test_a_link_in_the_cache_leads_nowhere_else(hub: FakeHub, everything_below: Path) -> None:
    elsewhere = everything_below / "elsewhere"
    elsewhere.mkdir()
    snapshot = paths.hub_cache() / "models--some-user--Model-GGUF" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "sub").symlink_to(elsewhere)
    hub.files[REPO] = {"sub/x-Q4_K_M.gguf": MODEL}
    with pytest.raises(UsageError, match="points outside the repository"):
        fetch(f"hf:{REPO}")
    assert list(elsewhere.iterdir()) == []


def test_a_damaged_cache_is_fetched_anew(hub: FakeHub) -> None:
    path = fetch(f"hf:{REPO}")
    path.resolve().unlink()  # a link that leads nowhere
    assert fetch(f"hf:{REPO}").read_bytes() == MODEL
    (path.parents[2] / "refs" / "main").write_text("../../../../etc")
    assert fetch(f"hf:{REPO}").read_bytes() == MODEL
    assert json.dumps((path.parents[2] / "refs" / "main").read_text()) == json.dumps(COMMIT)
