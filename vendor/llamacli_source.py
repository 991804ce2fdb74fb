"""Makes sure that the llama.cpp sources are there: the user's own tree, a populated `vendor/llama.cpp`, or the pinned one.

The pinned tree travels inside the source distribution of llama-cpp-python, which pip fetches: pip knows the user's mirrors,
proxies and certificates. The file is verified by its hash, kept in the user cache directory under that hash, unpacked to a
temporary folder beside `vendor/llama.cpp` and renamed, so that an interrupted build leaves nothing half done.
Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

VENDOR = Path(__file__).parent
TREE_IN_SDIST = ("vendor", "llama.cpp")
MARKER = ".llamacli-pin"
"""A file in a tree that we unpacked; it holds the hash of the archive that the tree came from."""
OWN_TREE = "LLAMACLI_LLAMA_CPP_DIR"


class SourceError(Exception):
    """The sources could not be had. The text says why, and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The source distribution that is fetched, and the llama.cpp commit in it."""

    name: str
    version: str
    sha256: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A llama.cpp source tree and its commit ("unknown" where nothing tells)."""

    path: Path
    commit: str


def read_pin(vendor: Path = VENDOR) -> Pin:
    """The pin in `vendor`."""
    return Pin(**tomllib.loads((vendor / "llama_cpp.toml").read_text(encoding="utf-8")))


def find_tree(vendor: Path = VENDOR, own: str | None = None) -> Tree | None:
    """The tree to build if it is there already: `own`, or `vendor/llama.cpp` unless that is an outdated one of ours.

    Raises SourceError for a folder that is not a llama.cpp tree.
    """
    if own:
        path = Path(own).expanduser().resolve()
        if not _is_tree(path):
            raise SourceError(f"{OWN_TREE}: {path} is not a llama.cpp source tree (it has no include/llama.h)")
        return Tree(path=path, commit=_git_commit(path))
    path = vendor / "llama.cpp"
    if not path.is_dir() or not any(path.iterdir()):
        return None
    if not _is_tree(path):
        raise SourceError(f"{path} is no llama.cpp source tree (it has no include/llama.h); delete it to have one fetched")
    pin = read_pin(vendor)
    unpacked_from = _read_marker(path)
    if unpacked_from is None:
        return Tree(path=path, commit=_git_commit(path))
    return Tree(path=path, commit=pin.commit) if unpacked_from == pin.sha256 else None


def ensure_tree(vendor: Path = VENDOR, own: str | None = None, environ: Mapping[str, str] = os.environ) -> Tree:
    """The tree to build, fetched if need be. Callers in one checkout take turns. Raises SourceError."""
    for leftover in vendor.glob(".llama.cpp.*"):  # of a build that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    if tree := find_tree(vendor, own):
        return tree
    pin = read_pin(vendor)
    try:
        with tempfile.TemporaryDirectory(prefix=".llama.cpp.", dir=vendor) as folder:
            work = Path(folder)
            with _sdist(pin, cache_dir(environ), work, environ) as archive:
                unpack(archive, work / "new")
            (work / "new" / MARKER).write_text(pin.sha256 + "\n", encoding="utf-8")
            target = vendor / "llama.cpp"
            if target.exists():
                target.rename(work / "old")
            (work / "new").rename(target)
    except OSError as error:
        raise SourceError(f"the llama.cpp sources could not be put into {vendor}: {error}") from error
    return Tree(path=vendor / "llama.cpp", commit=pin.commit)


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where downloaded archives are kept: the `sources` folder of llamacli's user cache directory."""
    if own := environ.get("LLAMACLI_CACHE_DIR"):
        return Path(own).expanduser() / "sources"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "llamacli" / "sources"
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llamacli" / "sources"


def unpack(archive: Path, target: Path) -> None:
    """Unpack the llama.cpp tree in the source distribution `archive` to `target`. Plain files only, and nothing outside."""
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts
                if parts[1:3] != TREE_IN_SDIST or not member.isfile():
                    continue
                if ".." in parts:
                    raise SourceError(f"{archive} holds an unsafe path: {member.name}")
                path = target.joinpath(*parts[3:])
                path.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None  # it is a plain file
                with content, path.open("wb") as file:
                    shutil.copyfileobj(content, file)
                if member.mode & 0o100:
                    path.chmod(0o755)
    except (tarfile.TarError, EOFError) as error:
        raise SourceError(f"{archive} cannot be unpacked: {error}") from error
    if not _is_tree(target):
        raise SourceError(f"{archive} holds no llama.cpp tree; is the pin in vendor/llama_cpp.toml right?")


@contextmanager
def _sdist(pin: Pin, cache: Path, work: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """The verified archive: from the cache, or fetched to `work` and kept in the cache if that can be written."""
    kept = cache / f"{pin.sha256}.tar.gz"
    if kept.is_file() and _sha256(kept) == pin.sha256:
        yield kept
        return
    fetched = _download(pin, work, kept, environ)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, prefix=".", delete=False) as beside:
            name = Path(beside.name)
        shutil.copyfile(fetched, name)
        name.replace(kept)
    except OSError as error:
        _say(f"{pin.name} {pin.version} is not kept for the next build: {error}")
    yield fetched


def _download(pin: Pin, work: Path, kept: Path, environ: Mapping[str, str]) -> Path:
    """Have pip fetch the archive to `work`. Raises SourceError, which tells what else can be done."""
    requirement = work / "requirements.txt"
    requirement.write_text(f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}\n", encoding="utf-8")
    # pip asks an archive for its metadata before it hands it over. Without build isolation this takes the scikit-build-core
    # that is here anyway, not a fresh environment for which everything would be compiled from source.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-build-isolation", "--no-binary", pin.name,
               "--no-input", "--disable-pip-version-check", "--dest", str(work), "--requirement", str(requirement)]  # fmt: skip
    _say(f"fetching the llama.cpp sources ({pin.name} {pin.version}, 77 MB)")
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**environ, "PIP_REQUIRE_VIRTUALENV": "0"},
        check=False,
    )
    found = list(work.glob("*.tar.gz"))
    if "DO NOT MATCH THE HASHES" in done.stdout or (found and _sha256(found[0]) != pin.sha256):
        raise SourceError(
            f"the index served another {pin.name} {pin.version} than the pinned one (hash mismatch). Nothing of it was used.\n"
            f"Check which index pip asks (`pip config list`), or set {OWN_TREE} to a llama.cpp source tree that you trust."
        )
    if done.returncode or not found:
        raise SourceError(
            f"{pin.name} {pin.version}, which carries the llama.cpp sources, could not be fetched:\n  {_reason(done.stdout)}\n"
            f"Check the network and pip's index settings (`pip config list`); or put the file\n"
            f"  {pin.name.replace('-', '_')}-{pin.version}.tar.gz as {kept};\n"
            f"or set {OWN_TREE} to a llama.cpp source tree."
        )
    return found[0]


def _reason(said: str) -> str:
    """The last errors of pip's output."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "\n  ".join(errors[-3:] or lines[-1:] or ["pip said nothing"])


def _is_tree(path: Path) -> bool:
    return (path / "include" / "llama.h").is_file() and (path / "CMakeLists.txt").is_file()


def _read_marker(path: Path) -> str | None:
    try:
        return (path / MARKER).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def _git_commit(path: Path) -> str:
    """The commit of a git checkout whose root is `path`, else "unknown": a tree inside our own checkout has none of its own."""
    command = ["git", "-C", str(path), "rev-parse", "--show-toplevel", "--short=9", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return "unknown"
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != 2 or not Path(lines[0]).samefile(path):
        return "unknown"
    return lines[1]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _say(message: str) -> None:
    print(f"llamacli: {message}", flush=True)
