"""The cores and the memory that this process may use."""

from __future__ import annotations

import functools
import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_STAT = Path("/proc/stat")


@functools.cache
def default_threads() -> int:
    """Return the number of physical cores within this process' affinity mask and CPU quota, at least 1.

    Two threads on one core (SMT) share its vector units, so a second one does not speed up token generation.
    """
    allowed = _allowed_cpus()
    cores = {_core_of(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota(_CGROUP)))


def logical_cpus() -> int:
    """Return the number of logical CPUs (hardware threads) within the affinity mask and the quota, at least 1."""
    return max(1, min(len(_allowed_cpus()), _quota(_CGROUP)))


def idle_seconds(stat: Path = _STAT) -> float | None:
    """Return the seconds that the logical CPUs of this process have been idle, all together, since an unknown time.

    None where the system does not report them.
    """
    names = {f"cpu{cpu}" for cpu in _allowed_cpus()}
    try:
        rows = [line.split() for line in stat.read_text(encoding="ascii").splitlines()]
        # after the name: user, nice, system, idle, iowait
        ticks = [int(row[4]) + int(row[5]) for row in rows if row and row[0] in names]
    except (OSError, ValueError, IndexError):
        return None
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def available_memory() -> int | None:
    """Return the bytes of memory available to this process within its cgroup's limit, or None if unknown."""
    fields = _meminfo()
    if "MemAvailable" not in fields:
        return None
    available = fields["MemAvailable"] + fields.get("SwapFree", 0)
    try:
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return available
    return min(available, max(0, limit - used))


def total_memory() -> int | None:
    """Return the bytes of memory and swap that this process could ever have, or None if unknown."""
    fields = _meminfo()
    if "MemTotal" not in fields:
        return None
    swap = fields.get("SwapTotal", 0)
    try:
        return min(fields["MemTotal"], int((_CGROUP / "memory.max").read_text(encoding="ascii"))) + swap
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return fields["MemTotal"] + swap


def _meminfo() -> dict[str, int]:
    """Return the fields of `/proc/meminfo` in bytes; none where there is no such file."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    except (OSError, ValueError, IndexError):
        return {}


def _allowed_cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _core_of(cpu: int) -> str:
    """Return a name that the CPUs of one physical core share, or one for each CPU if the system does not report cores."""
    try:
        return (_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def _quota(cgroup: Path, membership: Path = _MEMBERSHIP) -> int:
    """Return the number of CPUs that the quotas of this process' cgroups allow, rounded up; 65536 without a quota."""
    folders = [cgroup, cgroup / "cpu", *_own_cgroups(cgroup, membership)]
    return min(_group_quota(folder) for folder in folders)


def _own_cgroups(cgroup: Path, membership: Path) -> list[Path]:
    """Return the folders that may hold a quota: those of this process' groups and of the groups around them."""
    try:
        lines = membership.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        root = cgroup / controllers
        if controllers and "cpu" not in controllers.split(","):
            continue
        while (path := path.strip("/")) and ".." not in path.split("/"):
            found.append(root / path)
            path = path.rpartition("/")[0]
        found.append(root)
    return found


def _group_quota(group: Path) -> int:
    """Return the number of CPUs that the quota of one cgroup allows."""
    unlimited = 1 << 16
    try:  # cgroup v2: "max 100000" or "150000 100000"
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:  # cgroup v1: -1 or microseconds
            quota = (group / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (group / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return unlimited
    if quota in ("max", "-1"):
        return unlimited
    try:
        return max(1, -(-int(quota) // int(period)))
    except (ValueError, ZeroDivisionError):
        return unlimited
