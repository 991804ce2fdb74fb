"""Dataclasses with late methods: the same as ordinary ones, whatever is called first."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from llamacli.values import dataclass, fields_of


def declare(decorator: Any) -> tuple[Any, Any]:
    """Return a class with fields of every kind, and one that compares by identity."""

    @decorator(frozen=True, slots=True)
    class Point:
        """A point."""

        x: int
        y: int = 2
        names: list[str] = dataclasses.field(default_factory=list)
        hidden: int = dataclasses.field(default=7, repr=False, compare=False)
        far: bool = dataclasses.field(default=False, kw_only=True)
        size: int = dataclasses.field(init=False, default=5)
        own: list[int] = dataclasses.field(init=False, default_factory=list)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("negative")

        @property
        def sum(self) -> int:
            return self.x + self.y

    @decorator(frozen=True, slots=True, eq=False, kw_only=True)
    class Mark:
        value: int = 0

    return Point, Mark


LATE, ORDINARY = declare(dataclass), declare(dataclasses.dataclass)

USES: list[Callable[[Any, Any], Any]] = [
    lambda point, _: point(1).sum,
    lambda point, _: repr(point(1, 3, ["a"], far=True)),
    lambda point, _: (point(1) == point(1), point(1) == point(2), point(1) == 1, point(1, 2, [], 8) == point(1)),
    lambda point, _: hash(point(1, names=())) == hash(point(1, 2, (), far=False)),  # type: ignore[arg-type]
    lambda point, _: hash(point(1)),
    lambda point, _: dataclasses.asdict(dataclasses.replace(point(1), y=4, names=["b"])),
    lambda point, _: [(field.name, field.init, field.kw_only) for field in dataclasses.fields(point)],
    lambda point, _: point(1).names is point(1).names,
    lambda point, _: setattr(point(1), "x", 2),
    lambda point, _: delattr(point(1), "x"),
    lambda point, _: point(1).__dict__,
    lambda point, _: point(-1),
    lambda point, _: point(),
    lambda point, _: point(1, 2, [], 4, True),
    lambda point, _: repr(copy.deepcopy(point(1, 2, ["a"]))),
    lambda point, _: (point.__doc__, point.__match_args__, point.__name__, point.__slots__),
    lambda _, mark: (mark(value=1) == mark(value=1), repr(mark(value=3)), len({mark(), mark()})),
    lambda _, mark: mark(1),
]


def outcome(use: Callable[[Any, Any], Any], classes: tuple[Any, Any]) -> tuple[str, Any]:
    try:
        return "value", use(*classes)
    except Exception as error:  # noqa: BLE001 - its kind is compared
        is_frozen = isinstance(error, dataclasses.FrozenInstanceError)
        return "frozen" if is_frozen else type(error).__name__, None if isinstance(error, AttributeError) else str(error)


@pytest.mark.parametrize("number", range(len(USES)))
@pytest.mark.parametrize("is_first", [True, False])
def test_a_late_class_is_an_ordinary_one(number: int, is_first: bool) -> None:
    late = declare(dataclass) if is_first else LATE
    assert outcome(USES[number], late) == outcome(USES[number], ORDINARY)


def test_other_attributes_cannot_be_set() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LATE[0](1).other = 2


@dataclass(frozen=True, slots=True)
class Kept:
    """A class that pickle finds by its name."""

    a: int
    b: tuple[int, ...] = ()


def test_objects_are_pickled_and_compared_with_match() -> None:
    kept = Kept(1, (2,))
    assert pickle.loads(pickle.dumps(kept)) == kept
    match kept:
        case Kept(a, b):
            assert (a, b) == (1, (2,))


def test_a_class_may_be_derived() -> None:
    @dataclass(frozen=True, slots=True)
    class Longer(Kept):
        c: int = 3

    assert repr(Longer(1)).endswith("Longer(a=1, b=(), c=3)")
    assert Longer(1) != Kept(1)


def test_nothing_is_described_or_compiled_before_it_is_used() -> None:
    point, _ = declare(dataclass)
    before = point.__init__, point.__eq__
    one, other = point(1), point(1)
    assert one == other
    assert (point.__init__ is before[0], point.__eq__ is before[1]) == (False, False)
    assert not isinstance(vars(point)["__dataclass_fields__"], dict)
    assert dataclasses.is_dataclass(point)
    assert isinstance(vars(point)["__dataclass_fields__"], dict)


def test_a_class_that_is_derived_without_the_decorator_may_call_the_first_init() -> None:
    class Counted(LATE[0]):  # type: ignore[misc]
        def __init__(self, *args: int) -> None:
            super().__init__(*args)

    declared, _ = declare(dataclass)
    assert Counted(1).sum == declared(1).sum


@pytest.mark.parametrize("classes", [declare(dataclass), ORDINARY])
def test_fields_are_known_without_a_description(classes: tuple[Any, Any]) -> None:
    @dataclass(frozen=True, slots=True)
    class Named(Kept):
        NAME: ClassVar[str] = "named"
        b: tuple[int, ...] = (3,)
        c: str = "c"

    assert [(one.name, one.default) for one in fields_of(Named)[1:]] == [("b", (3,)), ("c", "c")]
    assert [(one.name, one.default, one.kw_only) for one in fields_of(classes[0])] == [
        (one.name, one.default, one.kw_only) for one in dataclasses.fields(ORDINARY[0])
    ]
    with pytest.raises(TypeError):
        fields_of(int)


def test_a_default_that_objects_would_share_is_refused() -> None:
    with pytest.raises(ValueError, match="mutable default"):

        @dataclass(frozen=True, slots=True)
        class Shared:
            names: list[str] = []  # noqa: RUF012
