"""Frozen dataclasses whose methods are compiled when the first object is made, not when the module is imported.

`dataclasses` compiles six methods for each class: half a millisecond. A command imports a hundred classes and makes objects of
a third of them, so that a third of its start was spent on that. Classes that a command imports on its way to the first token
take their decorator from here; it is the same one to a type checker, and makes the same classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(**options: bool) -> Callable[[type], type]:
        """Return the decorator of a dataclass (`dataclasses.dataclass`)."""
        return lambda cls: (
            _with_late_methods(cls, **options) if _can_wait(cls, options) else dataclasses.dataclass(**options)(cls)
        )


__all__ = ["dataclass"]

_COMPARISONS: Final = ("__repr__", "__eq__", "__hash__")


def _can_wait(cls: type, options: dict[str, bool]) -> bool:
    """Return whether the class is frozen with slots, and derived from no dataclass: then this module knows what to make."""
    known = options.keys() <= {"frozen", "slots", "eq", "kw_only"}
    return known and bool(options.get("frozen") and options.get("slots")) and not dataclasses.is_dataclass(cls)


def _with_late_methods(cls: Any, *, frozen: bool, slots: bool, eq: bool = True, kw_only: bool = False) -> Any:
    namespace = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only, slots=slots)(cls)
    made.__dataclass_params__.frozen = frozen
    late = [name for name in (_COMPARISONS if eq else _COMPARISONS[:1]) if namespace.get(name) is None]

    def compile_comparisons() -> None:
        origin: Any = type(cls)(cls.__name__, cls.__bases__, namespace)
        full = vars(dataclasses.dataclass(init=False, eq=eq, frozen=frozen)(origin))
        for name in late:
            full[name].__qualname__ = f"{made.__qualname__}.{name}"
            setattr(made, name, full[name])

    def compile_init() -> None:
        made.__init__ = _init_of(made)

    for name in late:
        setattr(made, name, _late(made, name, compile_comparisons))
    made.__init__ = _late(made, "__init__", compile_init)
    made.__setattr__, made.__delattr__ = _refuse_to_set, _refuse_to_delete
    made.__getstate__, made.__setstate__ = _state, _set_state
    return made


def _late(made: Any, name: str, compile_it: Callable[[], None]) -> Callable[..., Any]:
    """Return the method that stands in for one until its first call."""

    def method(self: Any, *args: Any, **named: Any) -> Any:
        compile_it()
        return getattr(made, name)(self, *args, **named)

    return method


def _init_of(made: Any) -> Callable[..., None]:
    """Compile the method that sets the slots of a new object."""
    names: dict[str, Any] = {"missing": dataclasses.MISSING}
    positional, named, body = ["self"], ["*"], []
    for field in dataclasses.fields(made):
        name = field.name
        names[f"set_{name}"] = vars(made)[name].__set__
        has_default, has_factory = field.default is not dataclasses.MISSING, field.default_factory is not dataclasses.MISSING
        names[f"default_{name}"] = field.default_factory if has_factory else field.default
        given = name
        if field.init:
            default = f"=default_{name}" if has_default else "=missing" if has_factory else ""
            (named if field.kw_only else positional).append(name + default)
        elif has_default:
            given = f"default_{name}"
        else:
            given = "missing"
        if has_factory:
            given = f"default_{name}() if {given} is missing else {given}"
        if given != "missing":
            body.append(f"set_{name}(self, {given})")
    if hasattr(made, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join(positional + (named if len(named) > 1 else []))
    exec(f"def __init__({parameters}):\n " + "\n ".join(body or ["pass"]), names)  # noqa: S102 - as dataclasses does
    init: Callable[..., None] = names["__init__"]
    init.__qualname__ = f"{made.__qualname__}.__init__"
    return init


def _refuse_to_set(self: Any, name: str, _value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
