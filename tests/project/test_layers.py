"""The rooms: commands are independent, no circle of files, and pyproject names every library that is imported."""

from __future__ import annotations

import ast
import graphlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from llamacli.cli.registry import REGISTRY

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "llamacli"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imports(file: Path) -> Iterator[str]:
    """The modules of ours that a file imports, anywhere in it, for type checking too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in FILES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_commands_are_independent() -> None:
    contracts = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    commands = contracts["commands never import each other"]["modules"]
    assert set(commands) == {entry.module.removesuffix(".command") for entry in REGISTRY}


def test_no_two_files_import_each_other_in_a_circle() -> None:
    graph = {name: {other for other in imports(file) if other in FILES and other != name} for name, file in FILES.items()}
    graph["llamacli"].clear()  # it hands out the API's names, which are loaded when they are first used
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_every_library_that_is_imported_is_required() -> None:
    extras = [line for name, lines in PROJECT["project"]["optional-dependencies"].items() if name != "test" for line in lines]
    required = {re.split(r"[>[]", line)[0].replace("-", "_") for line in [*PROJECT["project"]["dependencies"], *extras]}
    required |= {"click", "referencing", "markdown_it"}  # parts of typer, jsonschema and rich
    required |= {"yaml"}  # pyyaml's module
    required |= {"certifi", "keyring", "openai", "transformers"}  # taken if they are there
    if "railroad_diagrams" in required:
        required.add("railroad")  # as its module is called
    if "beautifulsoup4" in required:
        required.add("bs4")
    if "pillow" in required:
        required.add("PIL")
    imported = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) - {"llamacli"} <= required
