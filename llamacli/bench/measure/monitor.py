"""Disturbances of a measurement (other programs, a hypervisor, a quota, heat), and its cost in energy and memory.

Both are read from Linux's /proc and /sys; on other systems they are unknown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_SHORTEST_SECONDS = 0.2
"""The kernel counts CPU time in hundredths of a second: shorter measurements are not judged."""

_SHARE = 0.1
"""Number of cores that others may use, and share of the time that may be spent waiting for a core, without a warning."""

_STOLEN = 0.01
_CLOCK_DROP = 0.1


@dataclass(frozen=True, slots=True)
class _Counters:
    """Seconds since the start of the system, except `heat`, a number of events, and `clock` in Hz (0 if unknown)."""

    at: float
    busy: float
    stolen: float
    own: float
    waited: float
    throttled: float
    heat: int
    clock: float


class DisturbanceMonitor:
    """Counters of what happened on the machine during the repetitions of one test.

    `root` holds /proc and /sys; `cores` is the number of physical cores for the test's `threads`.
    """

    def __init__(self, *, threads: int, cores: int, root: Path = Path("/")) -> None:
        self._threads = threads
        self._cores = cores
        self._root = root
        self._clocks: list[float] = []
        self._seconds = self._others = self._stolen = self._waited = self._throttled = 0.0
        self._heat = 0

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Count during the block, which is one repetition."""
        before = self._read()
        yield
        after = self._read()
        if before is None or after is None:
            return
        self._seconds += after.at - before.at
        self._others += max(0.0, after.busy - before.busy - (after.own - before.own))
        self._stolen += after.stolen - before.stolen
        self._waited += after.waited - before.waited
        self._throttled += after.throttled - before.throttled
        self._heat += after.heat - before.heat
        self._clocks.append(after.clock)

    def warnings(self) -> tuple[str, ...]:
        """Return the disturbances, each with a remedy."""
        if self._seconds < _SHORTEST_SECONDS:
            return ()
        return tuple(line for line in (self._busy(), self._steal(), self._quota(), self._hot()) if line)

    def _busy(self) -> str:
        others, spare = self._others / self._seconds, max(0, self._cores - self._threads)
        if others > spare + _SHARE or (self._waited / self._seconds > _SHARE and others > _SHARE):
            return f"other programs used {others:.1f} of {self._cores} cores: close them and measure again"
        return ""

    def _steal(self) -> str:
        share = self._stolen / self._seconds / self._cores
        if share > _STOLEN:
            return f"the hypervisor took {share:.0%} of the CPU time: measure again, or on a dedicated machine"
        return ""

    def _quota(self) -> str:
        share = self._throttled / self._seconds
        if share > _STOLEN:
            return f"the CPU quota of this container stopped it {share:.0%} of the time: raise it, or use fewer threads"
        return ""

    def _hot(self) -> str:
        if self._heat > 0:
            return "the CPU slowed down because of heat: cool it, or rest longer between repetitions"
        highest, lowest = max(self._clocks), min(self._clocks)
        if lowest < highest * (1 - _CLOCK_DROP):
            return f"the CPU's clock fell from {highest / 1e9:.1f} to {lowest / 1e9:.1f} GHz: rest longer between repetitions"
        return ""

    def _read(self) -> _Counters | None:
        cpu = _words(self._root / "proc/stat")
        if len(cpu) < 9:
            return None
        user, nice, system, _idle, _io, irq, soft, steal = (int(word) / _TICKS for word in cpu[1:9])
        own = os.times()
        return _Counters(
            at=time.monotonic(),
            busy=user + nice + system + irq + soft,
            stolen=steal,
            own=own.user + own.system,
            waited=_pressure(self._root / "proc/pressure/cpu"),
            throttled=_throttled(self._root / "sys/fs/cgroup/cpu.stat"),
            heat=_sum_of(self._root, "sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count"),
            clock=1e3 * _largest(self._root, "sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"),
        )


def machine_notes(root: Path = Path("/")) -> list[str]:
    """Return the properties of this machine that make all figures worse or less steady, each with a remedy."""
    notes = []
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq"
    governor, driver = ("".join(_words(frequency / name)) for name in ("scaling_governor", "scaling_driver"))
    if governor == "powersave" and "pstate" not in driver:
        notes.append("the CPU saves power (governor powersave): sudo cpupower frequency-set -g performance")
    supplies = [_words(path) for path in sorted(root.glob("sys/class/power_supply/A*/online"))]
    if supplies and all(words == ["0"] for words in supplies):
        notes.append("the machine runs on its battery: plug it in")
    load = _words(root / "proc/loadavg")
    cores = os.cpu_count() or 1
    if load and float(load[0]) > max(0.5, 0.25 * cores):
        notes.append(f"the machine is busy already (load {load[0]} on {cores} CPUs): close other programs")
    return notes


class EnergyMeter:
    """A meter of the energy in joules of CPU packages (RAPL) and GPUs. `gpus` are counters of joules, as from `gpu_counters`.

    `source` names the counters; it is empty without a readable one.
    """

    def __init__(self, root: Path = Path("/"), gpus: Sequence[Callable[[], float]] = ()) -> None:
        domains = sorted(root.glob("sys/class/powercap/intel-rapl:*"))
        packages = [path for path in domains if "".join(_words(path / "name")).startswith("package")]
        self._packages = [path for path in packages if _words(path / "energy_uj")]
        self._gpus = gpus
        self.source = "+".join(["RAPL"] * bool(self._packages) + ["NVML"] * bool(gpus))
        self.joules = 0.0

    @contextmanager
    def metering(self) -> Iterator[None]:
        """Add the energy used during the block to `joules`."""
        before = [_number(path / "energy_uj") for path in self._packages]
        gpus_before = [count() for count in self._gpus]
        yield
        for path, start in zip(self._packages, before, strict=True):
            used = _number(path / "energy_uj") - start
            wrapped = used < 0  # the counter restarts at its limit
            self.joules += (used + (_number(path / "max_energy_range_uj") if wrapped else 0)) / 1e6
        self.joules += sum(max(0.0, count() - first) for count, first in zip(self._gpus, gpus_before, strict=True))


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Resident bytes of this process: its own, and those of mapped files."""

    own: int
    mapped: int


def memory_use() -> MemoryUse | None:
    """Return the memory use of this process now; None if the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
        own, file = (1024 * int(fields[name][0]) for name in ("RssAnon", "RssFile"))
    except (OSError, KeyError, ValueError, IndexError):
        return None
    return MemoryUse(own=own, mapped=file)


def mapped_bytes(path: Path) -> int:
    """Return the resident bytes of a file that this process has mapped; 0 if the system does not report them."""
    total, inside = 0, False
    name = str(path.resolve())
    try:
        lines = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    for line in lines:
        words = line.split(maxsplit=5)
        if "-" in words[0]:
            inside = len(words) == 6 and words[5] == name
        elif inside and words[0] == "Rss:":
            total += 1024 * int(words[1])
    return total


def _words(path: Path) -> list[str]:
    """Return the words of the first line; none if the file does not exist."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.readline().split()
    except OSError:
        return []


def _number(path: Path) -> int:
    words = _words(path)
    return int(words[0]) if words and words[0].isdecimal() else 0


def _pressure(path: Path) -> float:
    total = next((word for word in _words(path) if word.startswith("total=")), "total=0")
    return int(total.removeprefix("total=")) / 1e6


def _throttled(path: Path) -> float:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("throttled_usec ")) / 1e6


def _sum_of(root: Path, pattern: str) -> int:
    return sum(_number(path) for path in root.glob(pattern))


def _largest(root: Path, pattern: str) -> float:
    return max((_number(path) for path in root.glob(pattern)), default=0)
