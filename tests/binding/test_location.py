"""The folder of the native libraries: in the package, or in an installed copy that a checkout hides."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llamacli import __version__
from llamacli.binding.location import library_name

PACKAGE = Path(__file__).resolve().parents[2] / "llamacli"
FILES = (
    "__init__.py",
    "errors.py",
    "version.py",
    *(f"binding/{name}.py" for name in ("__init__", "location", "declarations", "enums", "llama_h")),
)


def write_package(folder: Path, *, libraries: bool, version: str | None = None) -> Path:
    """Copy the part of the package that finds the libraries; with a version also what pip writes beside it."""
    package = folder / "llamacli"
    (package / "binding").mkdir(parents=True)
    for name in FILES:
        shutil.copy(PACKAGE / name, package / name)
    if libraries:
        (package / "binding" / "lib").mkdir()
        (package / "binding" / "lib" / library_name("llamacli-shim")).touch()
    if version:
        info = folder / f"llamacli-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: llamacli\nVersion: {version}\n")
    return package


def find(checkout: Path, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Look for the libraries as `python -c` does in the folder of a checkout."""
    code = (
        "from llamacli.binding.location import find_folder\ntry: print(find_folder())\nexcept Exception as error: print(error)"
    )
    code = f"import sys; sys.path += {[str(path) for path in paths]!r}\n{code}"
    return subprocess.run([sys.executable, "-S", "-E", "-c", code], cwd=checkout, capture_output=True, text=True, check=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    write_package(tmp_path / "checkout", libraries=False)
    return tmp_path / "checkout"


def test_libraries_in_the_package_come_first(tmp_path: Path) -> None:
    own = write_package(tmp_path / "own", libraries=True)
    write_package(tmp_path / "site", libraries=True, version=__version__)
    assert find(tmp_path / "own", tmp_path / "site").stdout == f"{own / 'binding' / 'lib'}\n"


def test_a_checkout_uses_the_libraries_of_an_installed_copy(tmp_path: Path, checkout: Path) -> None:
    site = write_package(tmp_path / "site", libraries=True, version=__version__)
    assert find(checkout, tmp_path / "empty", tmp_path / "site").stdout == f"{site / 'binding' / 'lib'}\n"


def test_a_copy_of_another_version_is_named(tmp_path: Path, checkout: Path) -> None:
    site = write_package(tmp_path / "site", libraries=True, version="0.0.1")
    assert find(checkout, tmp_path / "site").stdout == (
        f"{checkout / 'llamacli'} has no native library, and the one in {site} belongs to version 0.0.1 "
        f"(run `pip install .` in {checkout} again, or start Python in another folder)\n"
    )


def test_a_copy_with_other_declarations_is_named(tmp_path: Path, checkout: Path) -> None:
    site = write_package(tmp_path / "site", libraries=True, version=__version__)
    (site / "binding" / "declarations.py").write_text("changed\n")
    assert "belongs to a copy with other C declarations (run `pip install .`" in find(checkout, tmp_path / "site").stdout


def test_without_any_copy_the_command_to_build_is_named(checkout: Path) -> None:
    expected = f"{checkout / 'llamacli'} has no native library (`pip install .` in {checkout} builds it)\n"
    assert find(checkout).stdout == expected
