"""Owner of standard input: this program, or a loop of the calling shell, whose input must be left alone.

    while read -r name; do llamacli run "Tell me about $name"; done < names.txt
    ls | while read -r name; do llamacli run "Tell me about $name"; done

In the first loop standard input is a file that the shell has read before: its offset is not 0. In the second it is a pipe that
we share with a subshell, a copy of the shell that was forked for the loop and has read from it. A script that passes its own
standard input on is not a copy of its caller, and a function or a group of commands has read nothing: both are still read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_SHELLS = ("ash", "bash", "busybox", "dash", "ksh", "ksh93", "mksh", "sh", "zsh")


def belongs_to_a_loop(descriptor: int) -> bool:
    """Return whether another process reads from this standard input, too, as far as Linux tells."""
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return 0 < os.lseek(descriptor, 0, os.SEEK_CUR) < os.fstat(descriptor).st_size
        return stat.S_ISFIFO(mode) and _is_shared_with_subshell(descriptor)
    except OSError:
        return False


def _is_shared_with_subshell(descriptor: int) -> bool:
    parent = Path("/proc", str(os.getppid()))
    if Path(f"/proc/self/fd/{descriptor}").readlink() != (parent / "fd" / "0").readlink():
        return False
    # The name in brackets may hold spaces: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    grandparent = Path("/proc", (parent / "stat").read_text().rpartition(")")[2].split()[1])
    program = (parent / "exe").readlink()
    if program.name not in _SHELLS or program != (grandparent / "exe").readlink():
        return False
    return _has_read(parent) and (parent / "cmdline").read_bytes() == (grandparent / "cmdline").read_bytes()


def _has_read(process: Path) -> bool:
    """Return whether a process has read anything since it was forked."""
    return not (process / "io").read_text().startswith("rchar: 0\n")
