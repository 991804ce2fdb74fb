"""Owner of standard input: this program, or a loop of the calling shell, whose input must be left alone; or nobody.

    while read -r name; do llamacli run "Tell me about $name"; done < names.txt
    ls | while read -r name; do llamacli run "Tell me about $name"; done

In the first loop standard input is a file that the shell has read before: its offset is not 0. In the second it is a pipe that
we share with a subshell, a copy of the shell that was forked for the loop and has read from it. A script that passes its own
standard input on is not a copy of its caller, and a function or a group of commands has read nothing: both are still read.

Under ssh, cron and CI standard input often is a pipe or a socket that stays open and empty for as long as we run. Its other end
is held by the programs that started us alone, while in `slow | llamacli run PROMPT` another program has it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

_SHELLS = ("ash", "bash", "busybox", "dash", "ksh", "ksh93", "mksh", "sh", "zsh")


def belongs_to_a_loop(descriptor: int) -> bool:
    """Return whether another process reads from this standard input, too, as far as Linux shows."""
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return 0 < os.lseek(descriptor, 0, os.SEEK_CUR) < os.fstat(descriptor).st_size
        return stat.S_ISFIFO(mode) and _is_shared_with_subshell(descriptor)
    except OSError:
        return False


def _is_shared_with_subshell(descriptor: int) -> bool:
    pipe = Path(f"/proc/self/fd/{descriptor}").readlink()
    for process in _ancestors():  # between us and the shell may be `timeout`, which passes its input on
        parent = Path("/proc", str(process))
        if pipe != (parent / "fd" / "0").readlink():
            return False
        program = (parent / "exe").readlink()
        if program.name in _SHELLS:
            break
    else:
        return False
    grandparent = Path("/proc", _status(parent)[1])
    if program != (grandparent / "exe").readlink():
        return False
    return _has_read(parent) and (parent / "cmdline").read_bytes() == (grandparent / "cmdline").read_bytes()


def may_be_fed(descriptor: int) -> bool:
    """Return whether a program may still write to this standard input, other than those that started us.

    True where the system does not show it: the process that holds the other end may be another user's.
    """
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(mode):
            return False
        return not stat.S_ISFIFO(mode) or _has_other_writer(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    except OSError:
        return True


def _has_other_writer(pipe: str) -> bool:
    started_us = {os.getpid(), *_ancestors()}
    session = os.getsid(0)
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) in started_us:
            continue
        try:
            if any(_writes(process, one, pipe) for one in (process / "fd").iterdir()):
                return True
        except PermissionError:
            if _session(process) == session:  # such as `sudo cat file | llamacli run PROMPT`
                return True
        except OSError:
            continue  # it has ended
    return False


def _writes(process: Path, descriptor: Path, pipe: str) -> bool:
    """Return whether a process may write to the pipe through this descriptor."""
    try:
        if str(descriptor.readlink()) != pipe:
            return False
        flags = re.search(r"^flags:\s*(\d+)", (process / "fdinfo" / descriptor.name).read_text(), re.MULTILINE)
    except FileNotFoundError:
        return False
    return flags is None or int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY


def _ancestors() -> Iterator[int]:
    process = os.getppid()
    while process > 0:
        yield process
        process = int(_status(Path("/proc", str(process)))[1])


def _session(process: Path) -> int | None:
    try:
        return int(_status(process)[3])
    except OSError:
        return None


def _status(process: Path) -> list[str]:
    """The fields after the name: state, parent, group and session. The name in brackets may hold spaces (proc_pid_stat(5))."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def _has_read(process: Path) -> bool:
    """Return whether a process has read anything since it was forked."""
    return not (process / "io").read_text().startswith("rchar: 0\n")
