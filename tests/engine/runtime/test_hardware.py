"""The processors that a cgroup's quota leaves, and how long they are idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamacli.engine.runtime import hardware
from llamacli.engine.runtime.hardware import _quota, idle_seconds

UNLIMITED = 1 << 16

CASES: dict[str, tuple[str, dict[str, str], int]] = {
    "none": ("0::/\n", {}, UNLIMITED),
    "v2, of a container": ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
    "v2, without a quota": ("0::/user/app\n", {"user/app/cpu.max": "max 100000\n"}, UNLIMITED),
    "v2, of the own group": ("0::/user/app\n", {"user/app/cpu.max": "50000 100000\n", "user/cpu.max": "max 100000\n"}, 1),
    "v2, of a group around it": ("0::/user/app\n", {"user/app/cpu.max": "max 100000\n", "user/cpu.max": "300000 100000\n"}, 3),
    "v1": (
        "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n",
        {"cpu,cpuacct/job/cpu.cfs_quota_us": "200000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"},
        2,
    ),
    "v1, of a container": ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    "v1, without a quota": ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, UNLIMITED),
    "nonsense": ("\n:\n0:::\n0::/../../etc\n", {"cpu.max": "many 0\n"}, UNLIMITED),
    "a period of zero": ("0::/\n", {"cpu.max": "100 0\n"}, UNLIMITED),
}


@pytest.mark.parametrize("case", CASES)
def test_the_smallest_quota_of_all_groups_counts(tmp_path: Path, case: str) -> None:
    membership, files, expected = CASES[case]
    root, lines = tmp_path / "cgroup", tmp_path / "membership"
    root.mkdir()
    lines.write_text(membership)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert _quota(root, lines) == expected


def test_a_system_without_cgroups_has_no_quota(tmp_path: Path) -> None:
    assert _quota(tmp_path / "none", tmp_path / "missing") == UNLIMITED


def test_the_idle_time_is_that_of_the_processors_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hardware, "_allowed_cpus", lambda: [1, 3])
    monkeypatch.setattr(hardware.os, "sysconf", lambda name: 100)
    stat = tmp_path / "stat"
    stat.write_text("cpu 1 1 1 999 9 0\n" + "".join(f"cpu{cpu} 1 1 1 {cpu}00 50 0 0\n" for cpu in range(12)) + "intr 5\n")
    assert idle_seconds(stat) == 1 + 3 + 2 * 0.5


@pytest.mark.parametrize("text", [None, "", "cpu0 1 2\n", "cpu0 a b c d e f\n"])
def test_the_idle_time_may_be_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None) -> None:
    monkeypatch.setattr(hardware, "_allowed_cpus", lambda: [0])
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)
    assert idle_seconds(stat) is None
