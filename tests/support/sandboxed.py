"""A process of its own in the sandbox, for tests: it tries what a hostile library would, and prints how each attempt ended.

`python sandboxed.py '{"reads": [...], "attempts": {"open": "/etc/passwd"}}'`. The attempts are those of the C library
`library`, or the same calls through ctypes.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from llamacli.backend.child.sandbox import apply_sandbox

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int result(long value) { return value < 0 ? errno : 0; }

/* Each attempt returns 0 if the system let it through, else the reason. */
int try_open(const char *path) { return result(open(path, O_RDONLY)); }
int try_write(const char *path) { return result(open(path, O_WRONLY)); }
int try_create(const char *path) { return result(open(path, O_CREAT | O_WRONLY, 0600)); }
int try_truncate(const char *path) { return result(truncate(path, 0)); }
int try_unlink(const char *path) { return result(unlink(path)); }
int try_rename(const char *path) { return result(rename(path, "/tmp/renamed")); }
int try_mkdir(const char *path) { return result(mkdir(path, 0700)); }
int try_symlink(const char *path) { return result(symlink("/etc/passwd", path)); }
int try_chmod(const char *path) { return result(chmod(path, 0777)); }
int try_list(const char *path) { return result(open(path, O_RDONLY | O_DIRECTORY)); }
int try_exec(const char *path) {
    char *const argv[] = {(char *) path, NULL};
    return result(execve(path, argv, NULL));
}
int try_fork(const char *unused) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    return result(child);
}
int try_raw_fork(const char *unused) {
    long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    return result(child);
}
int try_socket(const char *unused) { return result(socket(AF_UNIX, SOCK_STREAM, 0)); }
int try_udp(const char *unused) { return result(socket(AF_INET, SOCK_DGRAM, 0)); }
int try_socketpair(const char *unused) { int pair[2]; return result(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)); }
int try_connect(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? errno : result(connect(fd, (struct sockaddr *) &address, sizeof address));
}
int try_listen(const char *unused) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof address) < 0) return errno;
    return result(listen(fd, 1));
}
int try_ptrace(const char *pid) { return result(ptrace(PTRACE_ATTACH, atoi(pid), 0, 0)); }
int try_read_memory(const char *pid) {
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *) &try_open, 1};
    return result(process_vm_readv(atoi(pid), &here, 1, &there, 1, 0));
}
int try_kill(const char *pid) { return result(kill(atoi(pid), 0)); }
int try_kill_own(const char *unused) { return result(kill(getpid(), 0)); }
int try_kill_group(const char *unused) { return result(kill(0, 0)); }
int try_parents_limits(const char *pid) { struct rlimit limit; return result(prlimit(atoi(pid), RLIMIT_NOFILE, NULL, &limit)); }
int try_outlive(const char *unused) { return result(prctl(PR_SET_PDEATHSIG, 0)); }
int try_unshare(const char *unused) { return result(syscall(SYS_unshare, 0x10000000)); }
int try_mount(const char *path) { return result(syscall(SYS_mount, "none", path, "tmpfs", 0, 0)); }
int try_io_uring(const char *unused) { char params[256] = {0}; return result(syscall(425, 4, params)); }
int try_type(const char *unused) { return result(ioctl(2, TIOCSTI, "x")); }
int try_openat2(const char *path) { char how[24] = {0}; return result(syscall(437, AT_FDCWD, path, how, sizeof how)); }
int try_newer(const char *unused) { return result(syscall(470, 0, 0, 0)); }
int try_executable_memory(const char *unused) { return result(memfd_create("x", 0x10)); }
int try_memory(const char *unused) { return result(memfd_create("x", 0)); }
"""
ATTEMPTS = [line.partition("(")[0].removeprefix("int try_") for line in SOURCE.splitlines() if line.startswith("int try_")]


def build_library(folder: Path, compiler: str) -> Path:
    """Compile the hostile library."""
    source, library = folder / "hostile.c", folder / "libhostile.so"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", str(library), str(source)], check=True)
    return library


def sandboxed(**request: Any) -> dict[str, Any]:
    """Run this file in a process of its own, and return what it prints."""
    command = [sys.executable, "-P", __file__, json.dumps(request, default=str)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def through_ctypes(name: str, argument: str) -> int:
    """The attempts that need no structures, for a machine without a compiler."""
    libc = ctypes.CDLL(None, use_errno=True)
    path = argument.encode()
    calls = {
        "open": lambda: libc.open(path, os.O_RDONLY),
        "write": lambda: libc.open(path, os.O_WRONLY),
        "create": lambda: libc.open(path, os.O_CREAT | os.O_WRONLY, 0o600),
        "truncate": lambda: libc.truncate(path, 0),
        "unlink": lambda: libc.unlink(path),
        "exec": lambda: libc.execve(path, None, None),
        "fork": lambda: libc.fork() or os._exit(0),
        "socket": lambda: libc.socket(1, 1, 0),
        "connect": lambda: libc.socket(2, 1, 0),
        "ptrace": lambda: libc.ptrace(16, int(argument), 0, 0),
        "kill": lambda: libc.kill(int(argument), 0),
        "kill_own": lambda: libc.kill(os.getpid(), 0),
    }
    if name not in calls:
        return -1
    ctypes.set_errno(0)
    return ctypes.get_errno() if calls[name]() < 0 else 0


def attempt(library: str | None, name: str, argument: str) -> str:
    """How an attempt ended: "done", the name of the error, or "skipped"."""
    if library is None:
        number = through_ctypes(name, argument)
    else:
        number = getattr(ctypes.CDLL(library), f"try_{name}")(argument.encode())
    return "skipped" if number < 0 else errno.errorcode[number] if number else "done"


def generate(model: str) -> str:
    """The text that a model writes in this process."""
    from llamacli.engine.chat.prompt import plain_prompt
    from llamacli.engine.chat.turn import text_turn
    from llamacli.engine.engine import Engine
    from llamacli.engine.events import Answer
    from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams

    with Engine(Path(model), None, ContextParams(n_ctx=64, threads=2)) as engine:
        turn = text_turn(plain_prompt(engine.model.vocabulary, "Hello"))
        params = GenerationParams(max_tokens=8, sampling=SamplingParams(temperature=0, ignore_eos=True))
        return next(event.content for event in engine.answer(turn, params) if isinstance(event, Answer))


def count_threads(wanted: int) -> int:
    """How many threads started and ended."""
    ended: list[int] = []
    threads = [threading.Thread(target=ended.append, args=(number,)) for number in range(wanted)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(ended)


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Enter the sandbox unless `sandbox` is false, and do what is asked for."""
    paths = {name: [Path(path) for path in request.get(name, ())] for name in ("reads", "writes", "devices")}
    if request.get("running_threads"):
        stop = threading.Event()
        threading.Thread(target=stop.wait, daemon=True).start()
    answer: dict[str, Any] = {}
    if request.get("sandbox", True):
        folder = Path(request["folder"]) if "folder" in request else None
        report = apply_sandbox(**paths, network=request.get("network", "none"), folder=folder)
        answer["report"] = [report.no_new_privileges, report.landlock, report.seccomp, list(report.missing)]
    attempts = request.get("attempts", {})
    answer["attempts"] = {name: attempt(request.get("library"), name, argument) for name, argument in attempts.items()}
    answer["threads"] = count_threads(4)
    if request.get("model"):
        answer["text"] = generate(request["model"])
    return answer


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
