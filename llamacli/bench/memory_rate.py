"""How fast this machine's memory is, measured in a moment, for estimates of how fast models would run."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

_BLOCK = 64 << 20
"""Bytes of a copy: more than caches hold."""

_RUNS = 5


def memory_rate(*, threads: int) -> float:
    """Return the bytes per second that `threads` read and write together while they copy memory."""
    import numpy as np

    pairs = [(np.ones(_BLOCK, dtype=np.uint8), np.empty(_BLOCK, dtype=np.uint8)) for _ in range(threads)]

    def copy(number: int) -> None:
        source, target = pairs[number]
        np.copyto(target, source)  # without the lock of the interpreter

    rates = []
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(copy, range(threads)))  # touches the pages
        for _ in range(_RUNS):
            start = time.perf_counter()
            list(pool.map(copy, range(threads)))
            rates.append(2 * _BLOCK * threads / (time.perf_counter() - start))
    return max(rates)  # others may have had the machine meanwhile
