"""What the values of single options look like. Each parser raises ValueError with the reason."""

from __future__ import annotations

import re

from llamacli.cli.framework.parameters import parse_float, parse_int, parse_text
from llamacli.engine.params import LoraAdapter

_ESCAPES = re.compile(r"""\\([nrt'"\\])""")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


def parse_gpu_layers(text: str) -> int | None:
    """`auto` (None), `all` (-1) or a number."""
    if text in ("auto", "all"):
        return None if text == "auto" else -1
    if not text.isdecimal():
        raise ValueError(f"'{text}' is not auto, all or a number from 0")
    return int(text)


def parse_limit(text: str) -> int | None:
    """A number of tokens; -1 is no limit (None)."""
    value = parse_int(text)
    if value < -1:
        raise ValueError(f"{value} is not a number from 0, or -1 for no limit")
    return None if value == -1 else value


def parse_threads(text: str) -> int | None:
    """A number of threads; llama.cpp's -1 is the default (None)."""
    value = parse_int(text)
    return None if value == -1 else value


def parse_seed(text: str) -> int | None:
    """A seed; -1 draws one (None)."""
    value = parse_int(text)
    return None if value == -1 else value


def parse_numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between."""
    return tuple(parse_float(part) for part in text.split(","))


def parse_names(text: str) -> tuple[str, ...]:
    """Names with commas or semicolons between."""
    return tuple(part.strip() for part in text.replace(";", ",").split(",") if part.strip())


def parse_lora(text: str) -> LoraAdapter:
    """PATH or PATH:SCALE."""
    path, colon, scale = text.rpartition(":")
    if colon and path:
        try:
            return LoraAdapter(path=path, scale=parse_float(scale))
        except ValueError:
            pass  # a colon that belongs to the path
    if not text:
        raise ValueError("the path is empty")
    return LoraAdapter(path=text)


def parse_logit_bias(text: str) -> tuple[int | str, float]:
    """A token's id or a text, `=` and a number; `false` forbids it. Also llama.cpp's TOKEN_ID+BIAS and TOKEN_ID-BIAS.

    A text in double quotes is one whatever it holds: `"42"=1`.
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
    r"""Text in which `\n`, `\t`, `\r`, `\\` and quotes after a backslash stand for what they do in llama.cpp."""
    return _ESCAPES.sub(lambda match: _ESCAPED.get(match[1], match[1]), parse_text(text))
