"""Frozen dataclasses that are described and compiled when that is first needed, not when the module is imported.

`dataclasses` describes the fields of a class and compiles six methods for it: half a millisecond. A command imports a hundred
classes and makes objects of a third of them, so that a third of its start was spent on that. Classes that a command imports on
its way to the first token take their decorator from here; it is the same one to a type checker, and makes the same classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, get_origin

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(**options: bool) -> Callable[[type], type]:
        """Return the decorator of a dataclass (`dataclasses.dataclass`)."""
        return lambda cls: _late(cls, **options) if _can_wait(cls, options) else dataclasses.dataclass(**options)(cls)


__all__ = ["dataclass", "fields_of"]

_COMPARISONS: Final = ("__repr__", "__eq__", "__hash__")
_DESCRIPTION: Final = ("__dataclass_fields__", "__dataclass_params__", "__match_args__")
_OWN: Final = "__late_fields__"
"""The attribute of a class from here that has the fields which it declares itself."""


def fields_of(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of a dataclass like `dataclasses.fields`, without their types; the class need not be described for it.

    Raises:
        TypeError: if it is no dataclass.
    """
    if _OWN not in vars(cls):
        return dataclasses.fields(cls)
    fields: dict[str, dataclasses.Field[Any]] = {}
    for base in reversed(cls.__mro__):
        fields |= vars(base).get(_OWN, {})
    return tuple(fields.values())


def _can_wait(cls: Any, options: dict[str, bool]) -> bool:
    """Return whether this module knows what to make: a frozen class with slots, derived from no dataclass but such ones."""
    known = options.keys() <= {"frozen", "slots", "eq", "kw_only"}
    if not (known and options.get("frozen") and options.get("slots")):
        return False
    if any("InitVar" in kind or "KW_ONLY" in kind for kind in cls.__annotations__.values() if isinstance(kind, str)):
        return False
    return all(_OWN in vars(base) or _DESCRIPTION[0] not in vars(base) for base in cls.__mro__)


def _late(cls: Any, *, frozen: bool, slots: bool, eq: bool = True, kw_only: bool = False) -> Any:
    """Return the class with slots for its fields, and methods that are compiled by their first call."""
    namespace = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    own = _own_fields(cls, namespace, kw_only=kw_only)
    late = [name for name in (_COMPARISONS if eq else _COMPARISONS[:1]) if namespace.get(name) is None]

    def ordinary(*, repr: bool, eq: bool, frozen: bool) -> Any:  # noqa: A002 - the names of dataclasses
        origin = type(cls)(cls.__name__, cls.__bases__, dict(namespace))
        return dataclasses.dataclass(init=False, repr=repr, eq=eq, frozen=frozen, kw_only=kw_only)(origin)

    def describe() -> None:
        is_derived = any(_OWN in vars(base) for base in cls.__mro__)
        described = ordinary(repr=False, eq=False, frozen=is_derived)  # that is the faster way if it is possible
        described.__dataclass_params__.frozen = frozen
        for name in _DESCRIPTION:
            setattr(made, name, vars(described)[name])

    def with_comparisons() -> type:
        full = vars(ordinary(repr=True, eq=eq, frozen=frozen))
        for name in late:
            full[name].__qualname__ = f"{made.__qualname__}.{name}"
            setattr(made, name, full[name])
        return made

    def with_init() -> type:
        made.__init__ = _init_of(made)  # type: ignore[misc]
        return made

    inherited = {name for base in cls.__mro__[1:-1] for name in vars(base).get("__slots__", ())}
    content = {name: value for name, value in namespace.items() if name not in own}
    content |= {"__slots__": tuple(name for name in own if name not in inherited), "__qualname__": cls.__qualname__, _OWN: own}
    content |= {name: _Description(name, describe) for name in _DESCRIPTION}
    content |= {name: _late_method(name, with_comparisons) for name in late}
    content |= {"__init__": _late_method("__init__", with_init)}
    made: type = type(cls)(cls.__name__, cls.__bases__, content | _OF_ALL)
    return made


class _Description:
    """An attribute of a class that `describe` sets when it is first asked for."""

    __slots__ = ("_describe", "_name")

    def __init__(self, name: str, describe: Callable[[], None]) -> None:
        self._name, self._describe = name, describe

    def __get__(self, _object: object, owner: type) -> Any:
        self._describe()
        return getattr(owner, self._name)


def _own_fields(cls: Any, namespace: dict[str, Any], *, kw_only: bool) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields that a class declares itself, by name. Raises ValueError for a default that objects would share."""
    fields: dict[str, dataclasses.Field[Any]] = {}
    for name, kind in cls.__annotations__.items():
        if _is_constant(kind):
            continue
        value = namespace.get(name, dataclasses.MISSING)
        field = value if isinstance(value, dataclasses.Field) else dataclasses.field(default=value)
        if type(field.default).__hash__ is None:
            raise ValueError(f"mutable default {type(field.default)} for field {name} is not allowed: use default_factory")
        field.name = name
        if field.kw_only is dataclasses.MISSING:
            field.kw_only = kw_only
        fields[name] = field
    return fields


def _is_constant(kind: Any) -> bool:
    """Return whether an annotation is that of a class variable."""
    if isinstance(kind, str):
        return kind.removeprefix("typing.").startswith("ClassVar")
    return kind is ClassVar or get_origin(kind) is ClassVar


def _late_method(name: str, compiled: Callable[[], type]) -> Callable[..., Any]:
    """Return the method that stands in for one until its first call. `compiled` returns the class that has it then."""

    def method(self: Any, *args: Any, **named: Any) -> Any:
        return getattr(compiled(), name)(self, *args, **named)

    return method


def _init_of(made: Any) -> Callable[..., None]:
    """Compile the method that sets the slots of a new object."""
    names: dict[str, Any] = {"missing": dataclasses.MISSING}
    positional, named, body = ["self"], ["*"], []
    for field in fields_of(made):
        name = field.name
        names[f"set_{name}"] = getattr(made, name).__set__
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


_OF_ALL: Final = {
    "__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete,
    "__getstate__": _state, "__setstate__": _set_state, "__replace__": dataclasses.replace,
}  # fmt: skip
"""The methods that need not be compiled for each class."""
