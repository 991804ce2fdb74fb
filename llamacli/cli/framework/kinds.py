"""Types of parameters: how the text of a value becomes the value, and how help writes it."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from llamacli.cli.framework.parsers import parse_bool, parse_float, parse_int, parse_path, parse_text
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a parameter: `convert` raises ValueError; `metavar` stands for the value in help."""

    convert: Callable[[str], object]
    metavar: str
    choices: tuple[str, ...] = ()
    multiple: bool = False

    @property
    def is_switch(self) -> bool:
        """True if an option of this kind takes no value."""
        return self is _KINDS[bool]


def kind_of(annotation: Any, parser: Callable[[str], object] | None = None) -> Kind:
    """The kind of a type: `X`, `X | None` or `tuple[X, ...]` (can be repeated), of str, int, float, bool, Path and Literal.

    With a parser, X is what it returns. A parser that returns a tuple takes the whole list in one text: `-ts 3,1`.
    """
    annotation = _without_none(annotation)
    if typing.get_origin(annotation) is tuple and (parser is None or _without_none(_result_of(parser)) != annotation):
        inner = kind_of(typing.get_args(annotation)[0], parser)
        return Kind(inner.convert, inner.metavar, inner.choices, multiple=True)
    if parser is not None:
        return Kind(parser, "VALUE")
    if typing.get_origin(annotation) is Literal:
        choices = tuple(str(choice) for choice in typing.get_args(annotation))
        return Kind(_choice_parser(typing.get_args(annotation)), "|".join(choices), choices)
    return _KINDS[annotation]


def _choice_parser(choices: tuple[Any, ...]) -> Callable[[str], object]:
    def parse(text: str) -> object:
        for choice in choices:
            if str(choice) == text:
                return choice
        raise ValueError(f"'{text}' is not one of {', '.join(map(str, choices))}")

    return parse


def _result_of(parser: Callable[[str], object]) -> Any:
    return typing.get_type_hints(parser).get("return")


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(annotation) if part is not types.NoneType)
    return annotation


_KINDS = {
    bool: Kind(parse_bool, ""),
    int: Kind(parse_int, "N"),
    float: Kind(parse_float, "N"),
    str: Kind(parse_text, "TEXT"),
    Path: Kind(parse_path, "FILE"),
}
