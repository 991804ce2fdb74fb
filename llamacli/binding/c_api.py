"""llama.cpp's C functions for callers from outside: every function of `llama.h` and of ggml that is declared, under its C name.

Results are C's: a status is returned, not raised. In place of a pointer, a function takes an object that stands for one
(`Handle`), an address, or None; in place of a vocabulary it takes a model.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from llamacli.binding import abi_check, enums, llama_h
from llamacli.binding.former_functions import FORMER_FUNCTIONS, former_function
from llamacli.binding.library import declarations, library
from llamacli.binding.prototypes import SCALARS, Declarations
from llamacli.errors import UsageError

_PREFIXES = ("llama_", "ggml_", "gguf_")
_FREEING = ("llama_free", "llama_model_free", "llama_free_model")
"""Functions that would free what its owner frees."""


class Handle:
    """An object that C functions take in place of a pointer to a structure. It owns what it points to."""

    def pointer(self, structure: str) -> Any:
        """Return the pointer to a structure, by its C name; None if the object has none of this kind.

        Raises:
            ClosedError: if the object was closed.
        """
        raise NotImplementedError


@functools.cache
def all_declarations() -> Declarations:
    """Return all declarations, those of `llama_h.py` included."""
    abi_check.add_rest(declarations)
    return declarations


@functools.cache
def constants() -> dict[str, int]:
    """Return the enumerators and macros by name."""
    found = dict(llama_h.CONSTANTS)
    for enumeration in (*abi_check.enumerations(enums), *abi_check.enumerations(llama_h)):
        found |= {member.name: int(member) for member in enumeration}
    return found


@functools.cache
def types() -> dict[str, Any]:
    """Return structures, unions, enumerations, callbacks and other types by their C names, and pointers as `NAME_p`."""
    known = all_declarations()
    found: dict[str, Any] = {name: getattr(enums, name, None) or getattr(llama_h, name, None) for name in _enumeration_names()}
    found |= {name: known.type(name) for name in known.typedefs}
    for name, structure in known.structs.items():
        pointer = ctypes.POINTER(structure)
        pointer.__index__ = _address  # type: ignore[attr-defined]  # what takes an address takes a pointer
        found[name] = structure
        found[f"{name}_p"] = found[f"{name}_p_ctypes"] = pointer
    found |= known.unions
    found["llama_log_callback"] = found["ggml_log_callback"]
    found["llama_token_p"] = ctypes.POINTER(found["llama_token"])
    return {name: item for name, item in found.items() if _is_public(name)}


@functools.cache
def function_names() -> tuple[str, ...]:
    """Return the names of all functions, in the order of their declarations."""
    return tuple(item.name for item in all_declarations().functions if _is_public(item.name))


def names() -> Iterator[str]:
    """Yield the name of everything that `find` returns; a function hides an enumeration of the same name."""
    yield from dict.fromkeys((*constants(), "LLAMA_MAX_DEVICES", *types(), *function_names(), *FORMER_FUNCTIONS))


def find(name: str) -> Any:
    """Return a function, type or constant by its C name, None if there is none."""
    if name == "LLAMA_MAX_DEVICES":
        return library().llama_max_devices()
    if name in function_names():
        return _function(name)
    if name in FORMER_FUNCTIONS:
        return former_function(name, find)
    return constants().get(name, types().get(name))


@functools.cache
def _function(name: str) -> Any:
    """Return a function of its own: the engine's has other checks of its arguments and result."""
    declared = next(item for item in all_declarations().functions if item.name == name)
    function = library().bind(declared)
    function.argtypes = [_argument(kind, frees=name in _FREEING) for kind in declared.arguments]
    if _structure_of(declared.result) is not None:
        function.errcheck = lambda result, *_: result or None
    function.__doc__ = f"{declared.text};"
    return function


class _Argument:
    """A parameter that points to a structure: the type of ctypes, and what else stands for such a pointer."""

    def __init__(self, kind: Any, structure: str, *, frees: bool) -> None:
        self._kind = kind
        self._structure = structure
        self._frees = frees

    def from_param(self, value: Any) -> Any:
        """Convert an argument, as ctypes asks for it."""
        if isinstance(value, Handle):
            if self._frees:
                raise UsageError("this object owns what the function would free", hint="call close() of the Llama object")
            found = value.pointer(self._structure)
            value = found if found is not None else value
        elif isinstance(value, ctypes.c_void_p | int) and not isinstance(value, bool):
            value = ctypes.cast(value, self._kind)
        elif self._structure == "llama_vocab" and isinstance(value, types()["llama_model_p"]):
            value = library().llama_model_get_vocab(value)
        return self._kind.from_param(value)


def _argument(kind: Any, *, frees: bool) -> Any:
    structure = _structure_of(kind)
    return kind if structure is None else _Argument(kind, structure, frees=frees)


def _structure_of(kind: Any) -> str | None:
    """Return the name of the structure that a type points to."""
    target = getattr(kind, "_type_", None)
    return target.__name__ if inspect.isclass(target) and issubclass(target, ctypes.Structure) else None


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def _enumeration_names() -> list[str]:
    found: list[type[IntEnum]] = [*abi_check.enumerations(enums), *abi_check.enumerations(llama_h)]
    return [item.__name__ for item in found]


def _is_public(name: str) -> bool:
    return name.startswith(_PREFIXES) and not name.startswith("llamacli") and name not in SCALARS
