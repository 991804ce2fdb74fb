"""The contracts of import-linter name every package, and pyproject names every library that is imported."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

from llamacli.cli.registry import REGISTRY

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "llamacli"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_has_its_contract_and_is_forbidden_to_those_below() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    parts -= {"__init__", "__main__"}
    contracts = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    commands = contracts.pop("commands never import each other")
    assert set(commands["modules"]) == {entry.module for entry in REGISTRY}, "a command is missing from the contract"
    layers = {name.split()[0]: contract for name, contract in contracts.items() if not name.startswith("only ")}
    assert set(layers) == parts
    for part, contract in layers.items():
        assert contract["source_modules"] == [f"llamacli.{part}"]
    for name, contract in contracts.items():
        if name.startswith("only "):
            home = name.split()[1]
            assert set(contract["source_modules"]) == {f"llamacli.{part}" for part in parts - {home}}


def test_every_library_that_is_imported_is_required() -> None:
    extras = [line for name, lines in PROJECT["project"]["optional-dependencies"].items() if name != "test" for line in lines]
    required = {line.split(">")[0].replace("-", "_") for line in [*PROJECT["project"]["dependencies"], *extras]}
    required |= {"click", "referencing", "markdown_it"}  # parts of typer, jsonschema and rich
    required |= {"certifi"}  # taken if it is there
    if "railroad_diagrams" in required:
        required.add("railroad")  # as its module is called
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
