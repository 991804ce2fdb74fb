"""Parsers of option values. Each raises ValueError with the reason."""

from __future__ import annotations

import math
import re
from pathlib import Path

from llamacli.engine.params import LoraAdapter

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_ESCAPES = r"""\\([nrt'"\\])"""
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


def parse_bool(text: str) -> bool:
    """Parse a switch in the environment or in the settings."""
    word = text.strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"'{text}' is not true or false")
    return word in _TRUE


def parse_text(text: str) -> str:
    """Return text that was valid UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text is not valid UTF-8") from None
    return text


def parse_raw_text(text: str) -> str:
    """Return text unchanged: file names need not be UTF-8, and their other bytes are kept as surrogates."""
    return text


def parse_int(text: str) -> int:
    """Parse a whole number."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a whole number") from None


def parse_float(text: str) -> float:
    """Parse a finite number."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is not a finite number")
    return value


def parse_path(text: str) -> Path:
    """Parse the path of a file or a directory."""
    if not text:
        raise ValueError("the path is empty")
    return Path(text)


def parse_document(text: str) -> str:
    """Parse the path of a file or a directory, a pattern, or the address of a web page."""
    if not text:
        raise ValueError("the path is empty")
    return text


def parse_gpu_layers(text: str) -> int | None:
    """Parse `auto` (None), `all` (-1) or a number of layers."""
    if text in ("auto", "all"):
        return None if text == "auto" else -1
    if not text.isdecimal():
        raise ValueError(f"'{text}' is not auto, all or a number from 0")
    return int(text)


def parse_limit(text: str) -> int | None:
    """Parse a number of tokens; -1 is no limit (None)."""
    value = parse_int(text)
    if value < -1:
        raise ValueError(f"{value} is not a number from 0, or -1 for no limit")
    return None if value == -1 else value


def parse_draft(text: str) -> int | None:
    """Parse `auto` (None), `off` (0) or a number of tokens."""
    if text in ("auto", "off"):
        return None if text == "auto" else 0
    if not text.isdecimal():
        raise ValueError(f"'{text}' is not auto, off or a number of tokens")
    return parse_int(text)


def parse_threads(text: str) -> int | None:
    """Parse a number of threads; llama.cpp's -1 is the default (None)."""
    if text[:1].isalpha():  # llm's -t
        raise ValueError(f"'{text}' is not a number of threads; -T selects a template")
    value = parse_int(text)
    return None if value == -1 else value


def parse_seed(text: str) -> int | None:
    """Parse a seed; -1 is a random one (None)."""
    value = parse_int(text)
    return None if value == -1 else value


def parse_numbers(text: str) -> tuple[float, ...]:
    """Parse comma-separated numbers."""
    return tuple(parse_float(part) for part in text.split(","))


def parse_names(text: str) -> tuple[str, ...]:
    """Parse comma- or semicolon-separated names."""
    return tuple(part.strip() for part in text.replace(";", ",").split(",") if part.strip())


def parse_lora(text: str) -> LoraAdapter:
    """Parse PATH or PATH:SCALE."""
    path, colon, scale = text.rpartition(":")
    if colon and path:
        try:
            return LoraAdapter(path=path, scale=parse_float(scale))
        except ValueError:
            pass  # the colon belongs to the path
    if not text:
        raise ValueError("the path is empty")
    return LoraAdapter(path=text)


def parse_logit_bias(text: str) -> tuple[int | str, float]:
    """Parse a token's id or text, `=` and a number or `false`, which forbids the token.

    llama.cpp's TOKEN_ID+BIAS and TOKEN_ID-BIAS are accepted, too. Double quotes make digits a text: `"42"=1`.
    """
    digits = len(text) - len(text.lstrip("0123456789"))
    token, bias = text[:digits], text[digits:]
    if not token or not bias.startswith(("+", "-", "=")):
        token, equals, bias = text.rpartition("=")
        if not token or not equals:
            raise ValueError(f"'{text}' is not a token and a bias, such as 15043=1, ' cat'=-2.5 or 15043=false")
    bias = bias.removeprefix("=")
    value = float("-inf") if bias in ("false", "-inf") else parse_float(bias)
    if token.isdecimal():
        return int(token), value
    quoted = len(token) > 2 and token[0] == token[-1] == '"'
    return (token[1:-1] if quoted else token), value


def parse_escaped(text: str) -> str:
    r"""Parse text with llama.cpp's escapes: `\n`, `\t`, `\r`, `\\` and quotes after a backslash."""
    return re.sub(_ESCAPES, lambda match: _ESCAPED.get(match[1], match[1]), parse_text(text))


_SIZE = r"(?i)(\d{1,15}(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?"


def parse_size(text: str) -> int:
    """Parse a size such as 500M, 2G or 1.5 GiB in powers of 1,024; without a unit, bytes."""
    match = re.fullmatch(_SIZE, text.strip())
    size = int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")) if match else 0
    if size < 1:
        raise ValueError(f"'{text}' is not a size such as 500M or 2G")
    return size


_DURATION = r"(\d{1,9}(?:\.\d+)?)(ms|s|m|h|d)?"
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str) -> float:
    """Parse a duration such as 30s, 10m or 1.5h; without a unit, seconds."""
    match = re.fullmatch(_DURATION, text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a duration such as 30s or 10m")
    return float(match[1]) * _SECONDS[match[2] or "s"]
