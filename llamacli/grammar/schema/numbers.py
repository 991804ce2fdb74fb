"""Ranges of integers and numbers as grammars of their decimal digits."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

MAX_DIGITS: Final = 40
"""Digits of a bound; larger bounds have no grammar."""
_DIGITS: Final = 16
"""Digits of numbers without a bound, as in llama.cpp's grammars."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound of numbers, which `strict` ones do not reach."""

    value: Decimal
    strict: bool = False


def integer_range(low: Bound | None, high: Bound | None) -> str | None:
    """Return a grammar for the integers between bounds; None if there are none."""
    least = None if low is None else _next_integer(low)
    most = None if high is None else -_next_integer(Bound(-high.value, high.strict))
    options = []
    if least is None or least < 0:
        # A number without a bound has up to 16 digits, or as many as the other bound.
        far = None if least is None else -least
        near = max(1, -most) if most is not None else 1
        options += [f'"-" ({negative})' for negative in [_natural_range(near, far)] if negative]
    if most is None or most >= 0:
        options += [positive for positive in [_natural_range(max(0, least or 0), most)] if positive]
    return " | ".join(options) or None


def _next_integer(low: Bound) -> int:
    """Return the least integer within a lower bound."""
    whole = int(low.value.to_integral_value(rounding="ROUND_CEILING"))
    return whole + 1 if low.strict and whole == low.value else whole


def _natural_range(low: int, high: int | None) -> str | None:
    """Return a grammar for the integers from `low` (0 or more) to `high`."""
    if high is None:
        digits = max(len(str(low)), _DIGITS)
        high = 10**digits - 1
    if low > high:
        return None
    options = []
    if low == 0:  # no other number starts with 0
        options, low = ['"0"'], 1
        if high == 0:
            return '"0"'
    if len(str(low)) < len(str(high)) and not _is_power(low):
        options.append(_digits_range(str(low), "9" * len(str(low))))
        low = 10 ** len(str(low))
    fewest, most = len(str(low)), len(str(high))
    most -= set(str(high)) != {"9"}  # the length up to which all numbers are in the range
    if fewest <= most:
        options.append("[1-9]" + (_any_digits(fewest - 1) if fewest == most else f" [0-9]{{{fewest - 1},{most - 1}}}"))
        low = 10**most
    if low <= high:
        options.append(_digits_range(str(low), str(high)))
    return " | ".join(options)


def _is_power(number: int) -> bool:
    """Return whether a number is the least with its digits."""
    return str(number).strip("0") == "1"


def _digits_range(low: str, high: str) -> str:
    """Return a grammar for the digit strings between two of the same length."""
    if low == high:
        return f'"{low}"'
    if set(low[1:]) <= {"0"} and set(high[1:]) <= {"9"}:
        return _digit(low[0], high[0]) + _any_digits(len(low) - 1)
    first, last = low[0], high[0]
    if first == last:
        return f'"{first}" {_group(_digits_range(low[1:], high[1:]))}'
    rest = len(low) - 1
    options = []
    if set(low[1:]) - {"0"}:
        options.append(f'"{first}" {_group(_digits_range(low[1:], "9" * rest))}')
        first = chr(ord(first) + 1)
    ends_early = bool(set(high[1:]) - {"9"})
    middle = chr(ord(last) - 1) if ends_early else last
    if first <= middle:
        options.append(_digit(first, middle) + _any_digits(rest))
    if ends_early:
        options.append(f'"{last}" {_group(_digits_range("0" * rest, high[1:]))}')
    return " | ".join(options)


def number_range(low: Bound | None, high: Bound | None) -> str | None:
    """Return a grammar for decimal numbers between bounds, without exponents; None if there are none."""
    options = []
    if low is None or low.value < 0:
        far = None if low is None else Bound(-low.value, low.strict)
        near = Bound(-high.value, high.strict) if high is not None and high.value <= 0 else Bound(Decimal(0))
        if negative := _positive_range(near, far):
            options.append(f'"-" ({negative})')
    if high is None or high.value >= 0:
        near = low if low is not None and low.value >= 0 else Bound(Decimal(0))
        if positive := _positive_range(near, high):
            options.append(positive)
    # Readers round to about 16 digits, which must not reach an exclusive bound.
    longest = max((len(str(abs(int(bound.value)))) for bound in (low, high) if bound is not None), default=1)
    digits = max(1, 15 - longest)
    return " | ".join(options).replace("{1,16}", f"{{1,{digits}}}").replace("{0,15}", f"{{0,{digits - 1}}}") or None


def _positive_range(low: Bound, high: Bound | None) -> str:
    """Return a grammar for the numbers from `low` (0 or more) to `high`; empty if there are none."""
    whole, digits = _parts(low.value)
    if high is None:
        options = _with_fraction(whole, _at_least(digits, low.strict))
        more = _natural_range(whole + 1, None)
        return " | ".join([*options, f'({more}) ("." [0-9]{{1,16}})?'])
    last, last_digits = _parts(high.value)
    if whole > last or (whole == last and Decimal(f"0.{digits or 0}") > Decimal(f"0.{last_digits or 0}")):
        return ""
    if whole == last:
        return " | ".join(_with_fraction(whole, _between(digits, low.strict, last_digits, high.strict)))
    options = _with_fraction(whole, _at_least(digits, low.strict))
    if middle := _natural_range(whole + 1, last - 1):
        options.append(f'({middle}) ("." [0-9]{{1,16}})?')
    return " | ".join([*options, *_with_fraction(last, _at_most(last_digits, high.strict))])


def _parts(value: Decimal) -> tuple[int, str]:
    """Return the integer and the digits of the fraction, without zeros at the end."""
    whole, _, digits = f"{value:f}".partition(".")
    return int(whole), digits.rstrip("0")


@dataclass(frozen=True, slots=True)
class _Tails:
    """Continuations of digits: grammars of those that are not empty, and whether the empty one is among them."""

    options: tuple[str, ...]
    empty: bool

    def after(self, digit: str) -> str:
        """Return a grammar for a digit and a continuation."""
        if not self.options:
            return f'"{digit}"' if self.empty else ""
        return f'"{digit}" ({" | ".join(self.options)}){"?" if self.empty else ""}'


_ANY = "[0-9]{1,16}"


def _with_fraction(whole: int, tails: _Tails) -> list[str]:
    fraction = f'"." ({" | ".join(tails.options)})' if tails.options else ""
    if tails.empty:
        return [f'"{whole}" ({fraction})?' if fraction else f'"{whole}"']
    return [f'"{whole}" {fraction}'] if fraction else []


def _at_least(digits: str, strict: bool) -> _Tails:
    """Return the continuations t with 0.t >= 0.digits, or > if `strict`."""
    if not digits:
        return _Tails(('"0"{0,15} [1-9] [0-9]{0,15}' if strict else _ANY,), not strict)
    options = [f"{_digit(chr(ord(digits[0]) + 1), '9')} [0-9]{{0,15}}"] if digits[0] < "9" else []
    options.append(_at_least(digits[1:], strict).after(digits[0]))
    return _Tails(tuple(filter(None, options)), False)


def _at_most(digits: str, strict: bool) -> _Tails:
    """Return the continuations t with 0.t <= 0.digits, or < if `strict`."""
    if not digits:
        return _Tails(() if strict else ('"0"{1,16}',), not strict)
    options = [f"{_digit('0', chr(ord(digits[0]) - 1))} [0-9]{{0,15}}"] if digits[0] > "0" else []
    options.append(_at_most(digits[1:], strict).after(digits[0]))
    return _Tails(tuple(filter(None, options)), True)


def _between(low: str, low_strict: bool, high: str, high_strict: bool) -> _Tails:
    """Return the continuations between two fractions, of which the first is not larger."""
    if not low:
        found = _at_most(high, high_strict)
        if not low_strict:
            return found
    if not high:
        return _Tails((), False)
    empty = not low and not low_strict
    first, last = (low or "0")[0], high[0]
    if first == last:
        tails = _between(low[1:], low_strict, high[1:], high_strict)
        return _Tails(tuple(filter(None, [tails.after(first)])), empty)
    options = [_at_least(low[1:], low_strict).after(first)]
    if chr(ord(first) + 1) < last:
        options.append(f"{_digit(chr(ord(first) + 1), chr(ord(last) - 1))} [0-9]{{0,15}}")
    options.append(_at_most(high[1:], high_strict).after(last))
    return _Tails(tuple(filter(None, options)), empty)


def _digit(low: str, high: str) -> str:
    return f"[{low}]" if low == high else f"[{low}-{high}]"


def _any_digits(count: int) -> str:
    return f" [0-9]{{{count}}}" if count > 1 else " [0-9]" if count else ""


def _group(body: str) -> str:
    return f"({body})" if "|" in body else body
