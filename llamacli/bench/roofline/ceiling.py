"""The ceilings of a device, as measured: its peak rates, and which of them other programs spoilt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from llamacli.engine.params import Kernels
from llamacli.engine.runtime.hardware import default_threads

PROMPT_TOKENS = 512
"""Columns of the products that represent reading a prompt."""

CPU = "CPU"

LOST = 0.1
"""A speed below this part of the speed with fewer threads was lost to other programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The rate of products in a type, in operations per second: with many tokens, and with one from the caches.

    `buffer` is llama.cpp's name for the buffer of such weights; in CPU_REPACK they are repacked for the CPU.
    """

    type: str
    prompt: float
    single: float
    buffer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The peak rates of one device with a number of threads and kernels. `reading` in bytes per second; `rates` by type.

    `lost` names the figures that are meaningless because other programs used the cores: `reading`, and a type's name followed
    by `prompt` or `single`.
    """

    device: str
    description: str
    threads: int
    reading: float
    rates: Mapping[str, Rate]
    lost: frozenset[str] = frozenset()
    kernels: Kernels = "own"

    def figures(self) -> dict[str, float]:
        """Return all speeds by their names in `lost`."""
        found = {"reading": self.reading}
        for name, rate in self.rates.items():
            found |= {f"{name} prompt": rate.prompt, f"{name} single": rate.single}
        return found


def without_lost(ceiling: Ceiling, fewer: Iterable[Ceiling]) -> Ceiling:
    """Return the ceiling with lost figures marked, by comparison with the same device and fewer threads.

    More threads than cores are slow in any case, so that these are not judged.
    """
    lost: set[str] = set()
    if ceiling.threads <= default_threads():
        for other in fewer:
            least = {name: LOST * speed for name, speed in other.figures().items()}
            lost |= {name for name, speed in ceiling.figures().items() if speed < least.get(name, 0.0)}
    return replace(ceiling, lost=frozenset(lost))


def faster_of(first: Ceiling, second: Ceiling) -> Ceiling:
    """Return the faster of each figure of two measurements of one device: disturbances only make slower."""
    rates = dict(second.rates)
    for name, rate in first.rates.items():
        other = rates.get(name, rate)
        rates[name] = replace(rate, prompt=max(rate.prompt, other.prompt), single=max(rate.single, other.single))
    return replace(first, reading=max(first.reading, second.reading), rates=rates)
