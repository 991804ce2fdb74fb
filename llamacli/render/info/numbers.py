"""Formatting of 32-bit floating-point numbers."""

from __future__ import annotations

import struct


def shortest(value: float) -> float:
    """Return the number with the fewest digits that equals `value` in 32 bits: 1e-05 for 9.999999747378752e-06."""
    if value != value or value in (float("inf"), float("-inf")):
        return value
    packed = struct.pack("f", value) if abs(value) < 3.4e38 else b""
    for digits in range(6, 10):
        rounded = float(f"{value:.{digits}g}")
        if packed and struct.pack("f", rounded) == packed:
            return rounded
    return value
