"""Parser of the C text of `declarations.py` into ctypes types and prototypes.

It parses only the narrow form of these declarations (one declarator per field, named parameters, unions declared on their own).
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
    """The types, structures, unions and functions of one set of declarations, or of several that are added in turn."""

    def __init__(self, opaque: str, typedefs: str, structs: str, functions: str) -> None:
        self.structs: dict[str, type[ctypes.Structure]] = {}
        self.unions: dict[str, type[ctypes.Union]] = {}
        self.fields: dict[str, list[tuple[str, str]]] = {}
        self.opaque: list[str] = []
        self.typedefs: list[str] = []
        self.callbacks: list[str] = []
        self.functions: list[Function] = []
        self._types: dict[str, Any] = dict(SCALARS)
        self.add(opaque, typedefs, structs, functions)

    def add(self, opaque: str, typedefs: str, structs: str, functions: str) -> None:
        """Add declarations, which may complete a structure that was opaque before."""
        self.opaque += opaque.split()
        bodies = list(re.finditer(r"(struct|union)\s+(\w+)\s*\{(.*?)\}\s*;", structs, re.DOTALL))
        # A structure without fields can only be pointed to, and its pointer type fits no other parameter.
        for name in [*opaque.split(), *(body[2] for body in bodies if body[1] == "struct")]:
            if name not in self.structs:
                self.structs[name] = type(name, (ctypes.Structure,), {"__slots__": ()})
                self._types.setdefault(name, self.structs[name])
        self.typedefs += [self._typedef(text) for text in statements(typedefs)]
        for body in bodies:
            self._members(body[1], body[2], body[3])
        self.functions += [self._function(text) for text in statements(functions)]

    def type(self, text: str) -> Any:
        """Return the ctypes type of a C type name, such as `const struct llama_model *`; None for `void`.

        Raises:
            ValueError: if a name is not declared.
        """
        text, _, length = text.partition("[")
        if length:
            return self.type(text) * int(length.rstrip("]"))
        words = re.sub(r"\bconst\b", " ", text).replace("*", " * ").split()
        stars = words.count("*")
        words = [word for word in words if word != "*"]
        constant = "const" in text
        if words[0] == "enum":
            base: Any = ctypes.c_int
        elif words[0] == "struct":
            base = self._lookup(self.structs, words[1])
        elif words[0] == "union":
            base = self._lookup(self.unions, words[1])
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
            arguments = [self.type(split_declarator(part)[0]) for part in callback[3].split(",")]
            self._types[callback[2]] = ctypes.CFUNCTYPE(self.type(callback[1]), *arguments)
            self.callbacks.append(callback[2])
            return callback[2]
        body, name = split_declarator(text.removeprefix("typedef "))
        self._types[name] = self.type(body)
        return name

    def _members(self, kind: str, name: str, body: str) -> None:
        fields = [split_declarator(part) for part in statements(body)]
        self.fields[name] = [(field, text) for text, field in fields]
        members = [(field, self.type(text)) for text, field in fields]
        if kind == "union":
            self.unions[name] = type(name, (ctypes.Union,), {"__slots__": (), "_fields_": members})
            return
        anonymous = [field for text, field in fields if text.startswith("union ")]
        if anonymous:
            self.structs[name]._anonymous_ = anonymous
        # Slots are empty: a misspelt field name would silently become a new Python attribute.
        self.structs[name]._fields_ = members

    def _function(self, text: str) -> Function:
        match = re.fullmatch(r"(.*?)(\w+)\((.*)\)", text, re.DOTALL)
        if not match:
            raise ValueError(f"not a prototype: {text}")
        parts = [] if match[3].strip() == "void" else match[3].split(",")
        arguments = tuple(self.type(split_declarator(part)[0]) for part in parts)
        return Function(match[2], self.type(match[1]), arguments, text)


def statements(text: str) -> list[str]:
    """Split C text into statements without comments."""
    text = re.sub(r"//[^\n]*", "", text)
    return [" ".join(part.split()) for part in text.split(";") if part.strip()]


def split_declarator(text: str) -> tuple[str, str]:
    """Split a declaration into its type and its name; the length of an array belongs to the type."""
    match = re.fullmatch(r"\s*(.*?)\s*(\w+)\s*(\[\d+\])?\s*", text, re.DOTALL)
    if not match:
        raise ValueError(f"not a declaration: {text}")
    return match[1] + (match[3] or ""), match[2]


def _pointers(base: Any, depth: int) -> Any:
    for _ in range(depth):
        base = ctypes.POINTER(base)
    return base
