"""Parser of the C text of `declarations.py` into ctypes types and prototypes.

It parses only the narrow form of these declarations (one declarator per field, named parameters, no arrays, no unions).
`abi_check.py` verifies the result against the compiler.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from typing import Any

SCALARS: dict[str, Any] = {
    "bool": ctypes.c_bool,
    "char": ctypes.c_char,
    "int": ctypes.c_int,
    "int8_t": ctypes.c_int8,
    "uint8_t": ctypes.c_uint8,
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


@dataclass(frozen=True, slots=True)
class Function:
    """A prototype: its name, the ctypes result type (None for void) and argument types, and its C text."""

    name: str
    result: Any
    arguments: tuple[Any, ...]
    text: str


class Declarations:
    """The types, structures and functions of one set of declarations."""

    def __init__(self, opaque: str, typedefs: str, structs: str, functions: str) -> None:
        self.structs: dict[str, type[ctypes.Structure]] = {}
        self.opaque = tuple(opaque.split())
        self._types: dict[str, Any] = dict(SCALARS)
        for name in self.opaque:
            # A structure without fields can only be pointed to, and its pointer type fits no other parameter.
            self.structs[name] = type(name, (ctypes.Structure,), {"__slots__": ()})
        self.typedefs = [self._typedef(text) for text in _statements(typedefs)]
        self.fields: dict[str, list[tuple[str, str]]] = {}
        for match in re.finditer(r"struct\s+(\w+)\s*\{(.*?)\}\s*;", structs, re.DOTALL):
            self._struct(match[1], match[2])
        self.functions = [self._function(text) for text in _statements(functions)]

    def type(self, text: str) -> Any:
        """Return the ctypes type of a C type name, such as `const struct llama_model *`; None for `void`.

        Raises:
            ValueError: if a name is not declared.
        """
        words = re.sub(r"\bconst\b", " ", text).replace("*", " * ").split()
        stars = words.count("*")
        words = [word for word in words if word != "*"]
        constant = "const" in text
        if words[0] == "enum":
            base: Any = ctypes.c_int
        elif words[0] == "struct":
            base = self._lookup(self.structs, words[1])
        elif words == ["void"]:
            return None if not stars else _pointers(ctypes.c_void_p, stars - 1)
        elif words == ["char"] and stars and constant:
            return _pointers(ctypes.c_char_p, stars - 1)
        else:
            base = self._lookup(self._types, words[0])
        return _pointers(base, stars)

    @staticmethod
    def _lookup(table: dict[str, Any], name: str) -> Any:
        if name not in table:
            raise ValueError(f"{name} is not declared")
        return table[name]

    def _typedef(self, text: str) -> str:
        callback = re.fullmatch(r"typedef (.*?)\(\s*\*\s*(\w+)\s*\)\s*\((.*)\)", text, re.DOTALL)
        if callback:
            arguments = [self.type(_split_declarator(part)[0]) for part in callback[3].split(",")]
            self._types[callback[2]] = ctypes.CFUNCTYPE(self.type(callback[1]), *arguments)
            return callback[2]
        body, name = _split_declarator(text.removeprefix("typedef "))
        self._types[name] = self.type(body)
        return name

    def _struct(self, name: str, body: str) -> None:
        fields = [_split_declarator(part) for part in _statements(body)]
        self.fields[name] = [(field, text) for text, field in fields]
        members = [(field, self.type(text)) for text, field in fields]
        # Without slots, a misspelt field name would silently become a new Python attribute.
        self.structs[name] = type(name, (ctypes.Structure,), {"__slots__": (), "_fields_": members})

    def _function(self, text: str) -> Function:
        match = re.fullmatch(r"(.*?)(\w+)\((.*)\)", text, re.DOTALL)
        if not match:
            raise ValueError(f"not a prototype: {text}")
        parts = [] if match[3].strip() == "void" else match[3].split(",")
        arguments = tuple(self.type(_split_declarator(part)[0]) for part in parts)
        return Function(match[2], self.type(match[1]), arguments, text)


def _statements(text: str) -> list[str]:
    text = re.sub(r"//[^\n]*", "", text)
    return [" ".join(part.split()) for part in text.split(";") if part.strip()]


def _split_declarator(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"\s*(.*?)\s*(\w+)\s*", text, re.DOTALL)
    if not match:
        raise ValueError(f"not a declaration: {text}")
    return match[1], match[2]


def _pointers(base: Any, depth: int) -> Any:
    for _ in range(depth):
        base = ctypes.POINTER(base)
    return base
