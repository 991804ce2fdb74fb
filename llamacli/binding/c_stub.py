"""Writer of the type stub of `llamacli.llama_cpp.llama_cpp`, from the declarations.

python -m llamacli.binding.c_stub llamacli/llama_cpp/llama_cpp.pyi
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from llamacli.binding import c_api
from llamacli.binding.former_functions import FORMER_FUNCTIONS
from llamacli.binding.prototypes import split_declarator

_HEAD = '''"""llama.cpp's C functions, structures and constants. Written by `llamacli.binding.c_stub`: do not edit."""

import ctypes
from collections.abc import Callable
from typing import Any

from llamacli.binding.c_api import Handle
'''

_PYTHON = {
    "bool": "bool",
    "float": "float",
    "double": "float",
    "llama_token": "int",
    "llama_pos": "int",
    "llama_seq_id": "int",
    "llama_state_seq_flags": "int",
}
"""Types of values; other scalars and enumerations are integers."""


def write_stub() -> str:
    """Return the text of the stub."""
    known, functions = c_api.all_declarations(), c_api.function_names()
    lines = [_HEAD, "LLAMA_MAX_DEVICES: int"]
    lines += [f"{name}: int" for name in c_api.constants()]
    for name in [*known.unions, *known.structs]:
        if name not in c_api.types() or name in functions:
            continue
        base = "Union" if name in known.unions else "Structure"
        fields = [f"    {field}: {_result(text)}" for field, text in known.fields.get(name, [])]
        lines += ["", f"class {name}(ctypes.{base}):" + ("" if fields else " ..."), *fields]
    lines += [""]
    for name in c_api.types():
        if name in known.callbacks or name == "llama_log_callback":
            lines.append(f"def {name}(function: Callable[..., Any] | int, /) -> Any: ...")
        elif re.fullmatch(r"\w+_p(_ctypes)?", name) and name != "llama_token_p":
            lines.append(f"{name} = ctypes._Pointer[{name.removesuffix('_ctypes').removesuffix('_p')}]")
        elif name not in known.structs and name not in known.unions and name not in functions:
            lines.append(f"{name}: Any")
    lines += [""]
    lines += [_function(item.text) for item in known.functions if item.name in functions]
    lines += [_function(text) for text in FORMER_FUNCTIONS.values()]
    return "\n".join(lines) + "\n"


def _function(text: str) -> str:
    found = re.fullmatch(r"(.*?)(\w+)\((.*)\)", text, re.DOTALL)
    assert found is not None
    parts = [] if found[3].strip() == "void" else [split_declarator(part) for part in found[3].split(",")]
    arguments = ", ".join(f"{name}: {_argument(kind)}" for kind, name in parts)
    return f"def {found[2]}({arguments}{', /' if parts else ''}) -> {_result(found[1].strip())}: ..."


def _argument(kind: str) -> str:
    if _is_text(kind):
        return "bytes | None"
    structure = re.fullmatch(r"(?:const )?struct (\w+) \*", kind)
    if structure:
        return f"ctypes._Pointer[{structure[1]}] | Handle | Any"
    return "Any" if "*" in kind or (kind.endswith("_t") and kind.startswith(("llama", "ggml"))) else _result(kind)


def _result(kind: str) -> str:
    if kind == "void":
        return "None"
    if _is_text(kind):
        return "bytes | None"
    structure = re.fullmatch(r"(?:const )?struct (\w+)( \*)?", kind)
    if structure:
        return f"ctypes._Pointer[{structure[1]}] | None" if structure[2] else structure[1]
    is_callback = kind in c_api.all_declarations().callbacks
    if "*" in kind or "[" in kind or is_callback or kind.startswith("union ") or (kind.endswith("_t") and "int" not in kind):
        return "int" if kind == "size_t" else "Any"
    return _PYTHON.get(kind, "int")


def _is_text(kind: str) -> bool:
    return kind == "const char *"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(write_stub(), encoding="utf-8")
