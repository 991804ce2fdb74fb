"""The values of `format`: grammars of strings, and checks of answers."""

from __future__ import annotations

import datetime as dt
import functools
import re
from typing import Any, Final

_HEX: Final = "[0-9a-fA-F]"
_DATE: Final = (
    '(([0-9]{3} [1-9] | [0-9]{2} [1-9] "0" | [0-9] [1-9] "00" | [1-9] "000") "-" ('
    '("0" [13578] | "1" [02]) "-" ("0" [1-9] | [12] [0-9] | "3" [01]) | '
    '("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30") | '
    '"02-" ("0" [1-9] | "1" [0-9] | "2" [0-8])) | '
    '([0-9]{2} ("0" [48] | [2468] [048] | [13579] [26]) | ("0" [48] | [2468] [048] | [13579] [26]) "00") "-02-29")'
)
_TIME: Final = (
    '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? '
    '("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])'
)
_OCTET: Final = '("25" [0-5] | "2" [0-4] [0-9] | "1" [0-9]{2} | [1-9]? [0-9])'
_GROUP: Final = f"{_HEX}{{1,4}}"
_LABEL: Final = "[a-zA-Z0-9] ([a-zA-Z0-9-]{0,61} [a-zA-Z0-9])?"
_HOSTNAME: Final = f'{_LABEL} ("." {_LABEL}){{0,6}}'
_EMAIL: Final = (
    '[a-zA-Z0-9!#$%&\'*+/=?^_`{|}~-]{1,32} ("." [a-zA-Z0-9!#$%&\'*+/=?^_`{|}~-]{1,30})? "@" '
    f'{_LABEL} ("." {_LABEL}){{1,3}}'
)
_PCHAR: Final = f'([a-zA-Z0-9._~!$&\'()*+,;=:@-] | "%" {_HEX}{{2}})'
_URI: Final = (
    f'[a-zA-Z] [a-zA-Z0-9+.-]{{0,30}} ":" ("//" {_HOSTNAME} (":" [0-9]{{1,5}})? ("/" {_PCHAR}*)* | {_PCHAR}+ ("/" {_PCHAR}*)*) '
    f'("?" ({_PCHAR} | [/?])*)? ("#" ({_PCHAR} | [/?])*)?'
)
_DURATION: Final = '"P" ([0-9]{1,6} "W" | {date} ("T" {time})? | "T" {time})'.replace(
    "{date}",
    '([0-9]{1,6} "Y" ([0-9]{1,6} "M" ([0-9]{1,6} "D")?)? | [0-9]{1,6} "M" ([0-9]{1,6} "D")? | [0-9]{1,6} "D")',
).replace(
    "{time}",
    '([0-9]{1,6} "H" ([0-9]{1,6} "M" ([0-9]{1,6} "S")?)? | [0-9]{1,6} "M" ([0-9]{1,6} "S")? | [0-9]{1,6} "S")',
)


def _ipv6() -> str:
    """Addresses with all eight groups, and with `::` in place of one group or more (RFC 4291)."""
    options = [f'({_GROUP} ":"){{7}} {_GROUP}']
    for before in range(8):
        left = f'{_GROUP} (":" {_GROUP}){{{before - 1}}}' if before > 1 else _GROUP if before else ""
        right = f'({_GROUP} (":" {_GROUP}){{0,{6 - before}}})?' if before < 6 else f"{_GROUP}?" if before == 6 else ""
        options.append(f'{left} "::" {right}'.strip())
    return " | ".join(options)


def _uuid(version: str = "") -> str:
    third = f'"{version}" {_HEX}{{3}}' if version else f"{_HEX}{{4}}"
    fourth = f"[89abAB] {_HEX}{{3}}" if version else f"{_HEX}{{4}}"
    return f'{_HEX}{{8}} "-" {_HEX}{{4}} "-" {third} "-" {fourth} "-" {_HEX}{{12}}'


GRAMMARS: Final = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "duration": _DURATION,
    "email": _EMAIL,
    "hostname": _HOSTNAME,
    "ipv4": f'{_OCTET} ("." {_OCTET}){{3}}',
    "ipv6": _ipv6(),
    "uri": _URI,
    "uuid": _uuid(),
    **{f"uuid{version}": _uuid(version) for version in "1345678"},
    "uuid2": _uuid("2"),
}
"""The text of a string, without quotation marks, for each format that a grammar enforces."""

_UNCHECKED: Final = frozenset(["idn-email", "idn-hostname"])
_ZONED: Final = re.compile(r"(\d{4}-\d\d-\d\d[Tt])?\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_PERIOD: Final = re.compile(r"P(\d+W|(?=.)(\d+Y)?(\d+M)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?)", re.ASCII)
_HOST_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_HOST_LABEL}(\.{_HOST_LABEL})*", re.ASCII | re.IGNORECASE)


@functools.cache
def format_checker() -> Any:
    """Return jsonschema's checker of formats, extended by those that it checks only with further packages."""
    import jsonschema

    checker = jsonschema.FormatChecker()
    checks = {"time": _is_time, "date-time": _is_date_time, "duration": _is_duration, "hostname": _is_hostname}
    for name, check in checks.items():
        checker.checks(name)(check)
    for version in "12345678":
        checker.checks(f"uuid{version}")(functools.partial(_is_uuid, version=version))
    return checker


def is_checked(name: str) -> bool:
    """Return whether answers are checked for a format at the end."""
    return name in format_checker().checkers and name not in _UNCHECKED


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or _is_date_time(f"2000-01-01T{value}")


def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    if not _ZONED.fullmatch(value) or "-" not in value[:5]:
        return False
    try:
        dt.datetime.fromisoformat(value.upper())
    except ValueError:
        return False
    return True


def _is_duration(value: object) -> bool:
    return not isinstance(value, str) or (_PERIOD.fullmatch(value) is not None and value not in ("P", "PT"))


def _is_hostname(value: object) -> bool:
    return not isinstance(value, str) or _HOST.fullmatch(value) is not None


def _is_uuid(value: object, version: str) -> bool:
    pattern = rf"[\da-f]{{8}}-[\da-f]{{4}}-{version}[\da-f]{{3}}-[\da-f]{{4}}-[\da-f]{{12}}"
    return not isinstance(value, str) or re.fullmatch(pattern, value, re.ASCII | re.IGNORECASE) is not None
