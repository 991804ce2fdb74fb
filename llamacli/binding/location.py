"""The folder of the native libraries. This module imports no ctypes, so that `--version` can use it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from llamacli.errors import LibraryError

REINSTALL = "install llamacli again: pip install --force-reinstall --no-deps llamacli"
"""What helps against libraries that do not fit."""

_CONTRACT = ("declarations.py", "enums.py", "llama_h.py")
"""The files that say what the libraries must contain."""


def find_folder() -> Path:
    """Return the folder that holds the libraries.

    It is inside this package. If this package is a checkout without libraries, which hides an installed copy when Python runs
    in its folder, the libraries of that copy are used, provided that they have the same version and the same C declarations.

    Raises:
        LibraryError: if no usable libraries are found.
    """
    # An editable installation has two: the sources and the built files.
    roots = [Path(root, "binding").resolve() for root in sys.modules["llamacli"].__path__]
    for root in roots:
        if _has_libraries(root / "lib"):
            return root / "lib"
    return _find_installed(roots)


def _find_installed(roots: list[Path]) -> Path:
    """Return the libraries of an installed copy that fits this package. Raises LibraryError."""
    from llamacli.version import VERSION

    here = roots[0].parent
    for entry in dict.fromkeys(sys.path):
        binding = Path(entry or ".").resolve() / "llamacli" / "binding"
        if binding in roots or not _has_libraries(binding / "lib"):
            continue
        version = _installed_version(entry)
        if version in (None, VERSION) and _same_contract(roots[0], binding):
            return binding / "lib"
        other = f"version {version}" if version not in (None, VERSION) else "a copy with other C declarations"
        raise LibraryError(
            f"{here} has no native library, and the one in {binding.parent} belongs to {other}",
            hint=f"run `pip install .` in {here.parent} again, or start Python in another folder",
        )
    raise LibraryError(f"{here} has no native library", hint=f"`pip install .` in {here.parent} builds it")


def read_build_info(folder: Path) -> dict[str, Any]:
    """Return what was written down when the libraries were built, without loading them.

    It has commit, compiler, llama_version, dynamic_backends, system_info, backends, rpc_protocol and media.

    Raises:
        LibraryError: if the file is missing or corrupt.
    """
    import json  # only needed here

    try:
        info: dict[str, Any] = json.loads((folder / "build.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LibraryError(f"the build information is missing or corrupt: {error}", hint=REINSTALL) from error
    return info


def library_name(name: str) -> str:
    """The file name of a shared library on this system."""
    if sys.platform == "win32":
        return f"{name}.dll"
    return f"lib{name}.dylib" if sys.platform == "darwin" else f"lib{name}.so"


def _has_libraries(folder: Path) -> bool:
    return (folder / library_name("llamacli-shim")).exists()


def _same_contract(ours: Path, theirs: Path) -> bool:
    """Return whether two copies of this package declare the same C functions."""
    try:
        return all((ours / name).read_bytes() == (theirs / name).read_bytes() for name in _CONTRACT)
    except OSError:
        return False


def _installed_version(entry: str) -> str | None:
    import importlib.metadata  # only needed here, and slow to import

    found = next(iter(importlib.metadata.distributions(name="llamacli", path=[entry])), None)
    return found.version if found is not None else None
