"""The PEP 517 backend: has the llama.cpp sources put in place, then hands over to scikit-build-core.

What it adds: the tree and its commit as CMake definitions, one build folder for each configuration (kept, so that the next
build compiles only what changed; one build in it at a time), and a last line that says what to do when a build fails.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llamacli_source import OWN_TREE, SourceError, ensure_tree, find_tree
from scikit_build_core import build as scikit_build
from scikit_build_core.build import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ConfigSettings = dict[str, str | list[str]] | None

TREE_DEFINE = "cmake.define.LLAMACLI_LLAMA_CPP_DIR"
COMPILERS = ("c++", "g++", "clang++", "icpx")
CONFIGURING = ("CC", "CXX", "CUDACXX", "HIPCXX", "CFLAGS", "CXXFLAGS", "CUDAFLAGS", "CPPFLAGS", "LDFLAGS")
"""Environment variables that CMake reads once and then keeps: another value takes another build folder."""


def get_requires_for_build_wheel(config_settings: ConfigSettings = None) -> list[str]:
    """Packages that building a wheel takes: cmake and ninja where the system has none, pip where sources must be fetched."""
    return [*scikit_build.get_requires_for_build_wheel(config_settings), *_requires_for_fetch(config_settings)]


def get_requires_for_build_editable(config_settings: ConfigSettings = None) -> list[str]:
    """The same for an editable installation."""
    return [*scikit_build.get_requires_for_build_editable(config_settings), *_requires_for_fetch(config_settings)]


def build_wheel(wheel_directory: str, config_settings: ConfigSettings = None, metadata_directory: str | None = None) -> str:
    """Build a wheel; returns its file name."""
    with _native_build(config_settings) as settings:
        return scikit_build.build_wheel(wheel_directory, settings, metadata_directory)


def build_editable(wheel_directory: str, config_settings: ConfigSettings = None, metadata_directory: str | None = None) -> str:
    """Build the wheel of an editable installation; returns its file name."""
    with _native_build(config_settings) as settings:
        return scikit_build.build_editable(wheel_directory, settings, metadata_directory)


def _requires_for_fetch(config_settings: ConfigSettings) -> list[str]:
    try:
        return [] if find_tree(own=_own_tree(config_settings)) else ["pip>=23.1"]
    except SourceError as error:
        raise _failed(str(error)) from None


@contextmanager
def _native_build(config_settings: ConfigSettings) -> Iterator[dict[str, str | list[str]]]:
    """Prepare a build, yield the settings for scikit-build-core, and explain a failure."""
    settings = dict(config_settings or {})
    try:
        _check_compiler(settings)
        _check_options(settings)
        folder = Path(str(settings.get("build-dir") or _build_folder(settings)))
        with _alone_in(folder):
            tree = ensure_tree(own=_own_tree(settings))
            settings |= {
                "build-dir": str(folder),
                TREE_DEFINE: str(tree.path),
                "cmake.define.LLAMACLI_LLAMA_CPP_COMMIT": tree.commit,
            }
            os.environ.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(_processors()))  # make builds one file at a time otherwise
            try:
                yield settings
            except SystemExit as error:
                if error.code:
                    raise _failed(_explain(folder)) from None
                raise
    except SourceError as error:
        raise _failed(str(error)) from None


def _own_tree(config_settings: ConfigSettings) -> str | None:
    return str((config_settings or {}).get(TREE_DEFINE) or os.environ.get(OWN_TREE) or "") or None


def _build_folder(settings: dict[str, str | list[str]]) -> Path:
    """`build/PLATFORM`, with a suffix for any other configuration than the default: CMake keeps settings that went away."""
    environ = os.environ.items()
    choices = {name: value for name, value in environ if name in CONFIGURING or name.startswith(("CMAKE_", "SKBUILD_"))}
    choices.pop("CMAKE_BUILD_PARALLEL_LEVEL", None)
    choices |= {name: str(value) for name, value in settings.items()}
    if tree := _own_tree(settings):
        choices[OWN_TREE] = tree
    suffix = "-" + hashlib.sha256(repr(sorted(choices.items())).encode()).hexdigest()[:8] if choices else ""
    return Path("build", sysconfig.get_platform() + suffix)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One build at a time in a checkout: a second one waits for the first. The lock ends with the process."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"llamacli: waiting for another build in {folder.parent.resolve()} to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_compiler(settings: dict[str, str | list[str]]) -> None:
    """Say plainly that there is no C++ compiler, unless the user names one or a toolchain in a way that only CMake knows."""
    named = os.environ.get("CXX", "").split()
    chosen = " ".join([os.environ.get("CMAKE_ARGS", ""), os.environ.get("CMAKE_TOOLCHAIN_FILE", ""), *settings]).lower()
    if sys.platform == "win32" or "compiler" in chosen or "toolchain" in chosen:
        return
    if not any(shutil.which(name) for name in named[:1] or COMPILERS):
        wanted = f"{named[0]}, which CXX names," if named else "A C++ compiler"
        raise SourceError(
            f"{wanted} was not found on PATH, and llama.cpp is built from source.\n"
            "Install one (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install)\n"
            "or name one: CC=/path/to/cc CXX=/path/to/c++ pip install ."
        )


def _check_options(settings: dict[str, str | list[str]]) -> None:
    """Refuse options that llama.cpp no longer has, which CMake would ignore."""
    words = [os.environ.get("CMAKE_ARGS", ""), *settings, *(str(value) for value in settings.values())]
    if "CLBLAST" in " ".join(words).upper():
        raise SourceError("llama.cpp has no CLBlast backend any more: -DGGML_OPENCL=on builds the OpenCL backend in its place")


def _explain(folder: Path) -> str:
    """What to do about a failed build in `folder`."""
    if not (folder / "build.ninja").exists() and not (folder / "Makefile").exists():
        return (
            "CMake could not set up the build; its first error is above (`pip install -v .` shows all of its output).\n"
            f"It often names a package to install, or an option in CMAKE_ARGS to correct. Delete {folder} to start afresh."
        )
    cmake = os.environ.get("CMAKE_EXECUTABLE") or shutil.which("cmake")
    if cmake and (folder / "CMakeCache.txt").exists():
        command = [cmake, "--build", str(folder), "--target", "llamacli-abi-check"]
        check = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if check.returncode and "abi_check.c" in check.stdout + check.stderr:
            return (
                "the ABI check failed: this llama.cpp tree is not the one that the declarations in llamacli/binding describe.\n"
                f"The errors in abi_check.c above name each difference. Build the pinned tree (unset {OWN_TREE}, delete\n"
                "vendor/llama.cpp), use a tree of the same age, or correct llamacli/binding/declarations.py and enums.py."
            )
    return (
        "building llama.cpp failed; the compiler's first error is above (`pip install -v .` shows all of its output).\n"
        "`Killed` means too little memory: set CMAKE_BUILD_PARALLEL_LEVEL=1. After a change of compiler or options\n"
        f"delete {folder} and try again."
    )


def _failed(message: str) -> SystemExit:
    """Print the error where it is the last thing that pip shows; the return value is to be raised."""
    sys.stdout.flush()
    print(f"\nllamacli: error: {message}", file=sys.stderr, flush=True)
    return SystemExit(1)


def _processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
