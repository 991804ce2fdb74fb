"""Exceptions on the wire: ours by name with their fields, the system's by number, everything else as an unexpected error."""

from __future__ import annotations

import inspect
import os
import traceback
from typing import Final

import msgspec

from llamacli import errors

_FIELDS: Final = frozenset({"offset", "line", "column", "reason", "needed", "available", "place", "failed", "total"})
"""Attributes of our exceptions beside those that all have."""


class Fault(msgspec.Struct, frozen=True):
    """An exception. `kind` is the name of its class, `trace` the traceback of an unexpected one."""

    kind: str
    message: str
    hint: str | None = None
    parameter: str | None = None
    fields: dict[str, int | str | None] = {}
    trace: str = ""


def fault_of(error: BaseException) -> Fault:
    """Return the form of an exception for the wire."""
    kind = type(error).__name__
    if isinstance(error, errors.LlamacliError) and _class_of(kind) is not None:
        fields = {name: value for name, value in vars(error).items() if name in _FIELDS}
        return Fault(kind, error.message, error.hint, error.parameter, fields)
    if isinstance(error, MemoryError):
        return Fault("MemoryError", str(error))
    if isinstance(error, OSError) and error.errno is not None:
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
        return Fault("OSError", error.strerror or "", fields={"offset": error.errno, "reason": where})
    trace = "".join(traceback.format_exception(error))
    return Fault(kind, str(error), trace=trace)


def exception_of(fault: Fault) -> Exception:
    """Return the exception that a fault describes. An unknown one becomes a RuntimeError that names it."""
    kind = _class_of(fault.kind)
    if kind is not None:
        values = {"hint": fault.hint, "parameter": fault.parameter, **fault.fields}
        taken = inspect.signature(kind.__init__).parameters.keys()
        error = kind(fault.message, **{name: value for name, value in values.items() if name in taken})  # type: ignore[arg-type]
        error.message, error.args = fault.message, (fault.message,)
        for name in _FIELDS & fault.fields.keys():
            setattr(error, name, fault.fields[name])
        return error
    if fault.kind == "MemoryError":
        return MemoryError(fault.message)
    if fault.kind == "OSError":
        number, where = fault.fields.get("offset"), fault.fields.get("reason")
        return OSError(number, fault.message, where) if where is not None else OSError(number, fault.message)
    unexpected = RuntimeError(f"{fault.kind}: {fault.message}" if fault.message else fault.kind)
    if fault.trace:
        unexpected.add_note(f"in the engine's process:\n{fault.trace}")
    return unexpected


def _class_of(name: str) -> type[errors.LlamacliError] | None:
    found = getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, errors.LlamacliError) else None
