"""The sandbox: a hostile library in it is refused everything outside, while a model loads and generates."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sandboxed

from llamacli.backend.child import sandbox
from llamacli.backend.child.sandbox import SandboxReport, describe_sandbox, seccomp
from llamacli.backend.child.sandbox.environment import child_environment
from llamacli.backend.child.sandbox.seccomp import Rule, program
from llamacli.backend.child.sandbox.system_calls import ARCHITECTURES, LAST_KNOWN, system_calls
from llamacli.errors import SandboxError

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox is Linux's")
complete = pytest.mark.skipif(
    not sys.platform.startswith("linux") or bool(describe_sandbox().missing), reason="this kernel has not all parts"
)


@functools.cache
def hostile_library(folder: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return sandboxed.build_library(folder, compiler) if compiler else None


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    return hostile_library(tmp_path_factory.mktemp("library"))


def attempt(library: Path | None, attempts: dict[str, Any], **request: Any) -> dict[str, str]:
    """The outcome of each attempt that this machine can make."""
    attempts = {name: str(argument) for name, argument in attempts.items()}
    reads = [*request.pop("reads", []), *([library.parent] if library else [])]
    answer = sandboxed.sandboxed(attempts=attempts, library=library, reads=reads, **request)
    assert answer["threads"] == 4
    return {name: outcome for name, outcome in answer["attempts"].items() if outcome != "skipped"}


@complete
def test_everything_outside_is_refused(library: Path | None, tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim.txt", tmp_path / "new"
    victim.write_text("kept")
    with socket.create_server(("127.0.0.1", 0)) as server:
        attempts = {
            "open": "/etc/passwd", "list": Path.home(), "write": victim, "create": tmp_path / "made", "truncate": victim,
            "unlink": victim, "rename": victim, "mkdir": folder, "symlink": folder, "chmod": victim, "exec": "/bin/true",
            "fork": "", "raw_fork": "", "socket": "", "udp": "", "socketpair": "", "connect": server.getsockname()[1],
            "ptrace": os.getpid(), "read_memory": os.getpid(), "kill": os.getpid(), "kill_group": "",
            "parents_limits": os.getpid(), "outlive": "", "unshare": "", "mount": tmp_path, "io_uring": "", "type": "",
            "executable_memory": "",
        }  # fmt: skip
        outcomes = attempt(library, attempts)
    assert {name for name, outcome in outcomes.items() if outcome not in ("EACCES", "EPERM")} == set(), outcomes
    assert victim.read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["victim.txt"]


@complete
def test_without_the_sandbox_the_same_attempts_pass(library: Path | None, tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("kept")
    attempts = {
        "open": "/etc/passwd",
        "write": victim,
        "create": tmp_path / "made",
        "fork": "",
        "socket": "",
        "kill": os.getpid(),
    }
    outcomes = attempt(library, attempts, sandbox=False)
    assert set(outcomes.values()) == {"done"}, outcomes


@complete
def test_what_a_computation_needs_is_allowed(library: Path | None, tmp_path: Path) -> None:
    material, output = tmp_path / "material.txt", tmp_path / "output"
    material.write_text("x")
    output.write_text("old")
    outcomes = attempt(library, {"open": material, "kill_own": "", "memory": ""}, reads=[material])
    assert set(outcomes.values()) == {"done"}, outcomes
    outcomes = attempt(library, {"write": output, "create": tmp_path / "other", "open": material}, writes=[output])
    assert outcomes == {"write": "done", "create": "EACCES", "open": "EACCES"}


@complete
def test_calls_that_would_go_round_the_filter_do_not_exist(library: Path | None) -> None:
    if library is None:
        pytest.skip("there is no C compiler")
    assert attempt(library, {"newer": "", "openat2": "/etc/passwd"}) == {"newer": "ENOSYS", "openat2": "ENOSYS"}


@complete
def test_the_network_on_wish(library: Path | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outcomes = attempt(library, {"connect": port, "socket": "", "fork": ""}, network="connect")
    assert outcomes.pop("connect") == "done"
    assert set(outcomes.values()) == {"EPERM"}  # a unix socket, a process


@complete
def test_a_place_to_listen_and_a_folder_on_wish(library: Path | None, tmp_path: Path) -> None:
    if library is None:
        pytest.skip("there is no C compiler")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        attempts = {"connect": port, "listen": 0, "create": tmp_path / "made", "fork": ""}
        outcomes = attempt(library, attempts, network="listen", folder=str(tmp_path))
    assert outcomes == {"connect": "EPERM", "listen": "done", "create": "done", "fork": "EPERM"}


@complete
def test_devices_can_be_opened_for_writing(library: Path | None, tmp_path: Path) -> None:
    attempts = {"write": "/dev/full", "exec": "/bin/true", "create": tmp_path / "made"}
    outcomes = attempt(library, attempts, devices=["/dev/full"])
    assert outcomes == {"write": "done", "exec": "EPERM", "create": "EACCES"}


@complete
def test_a_model_generates_the_same_inside(tiny_model: Path) -> None:
    inside = sandboxed.sandboxed(reads=[tiny_model], model=tiny_model)
    assert inside["report"] == [True, describe_sandbox().landlock, True, []]
    assert inside["text"] == sandboxed.sandboxed(sandbox=False, model=tiny_model)["text"] != ""


@complete
def test_other_models_cannot_be_read(tiny_model: Path, tmp_path: Path) -> None:
    other = shutil.copy(tiny_model, tmp_path / "other.gguf")
    with pytest.raises(AssertionError, match="Permission denied"):
        sandboxed.sandboxed(reads=[tiny_model], model=other)


@complete
def test_files_of_procfs_stay_open_for_they_would_be_others_when_memory_was_short() -> None:
    script = (
        "import os; from llamacli.backend.child.sandbox import apply_sandbox; apply_sandbox([]);"
        "numbers = [number for number in range(3, 100) if os.path.lexists(f'/proc/self/fd/{number}')];"
        "links = {os.readlink(f'/proc/self/fd/{number}') for number in numbers};"
        "assert {f'/proc/{os.getpid()}', '/proc/meminfo', '/proc/stat'} <= links, links;"
        "assert not any(link.startswith(('/usr', '/lib', '/sys')) for link in links), links"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@complete
def test_threads_that_run_already_are_reported() -> None:
    report = sandboxed.sandboxed(running_threads=True)["report"]
    assert report[1] == 0
    assert report[3] == ["Landlock comes too late, 2 threads run already"]


@on_linux
def test_what_is_missing_is_said_and_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamacli.binding.linux.landlock_version", lambda: 0)
    monkeypatch.setattr("llamacli.backend.child.sandbox.seccomp.is_available", lambda: False)
    report = describe_sandbox()
    assert report.missing == ("this kernel has no Landlock", "this kernel has no seccomp filters")
    with pytest.raises(SandboxError, match=r"no Landlock; this kernel has no seccomp filters .*require"):
        report.require_complete()
    SandboxReport(True, 7, True, ()).require_complete()


def test_other_systems_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert sandbox.describe_sandbox() == sandbox.apply_sandbox([]) == SandboxReport(
        False, 0, False, ("there is no sandbox for darwin",)
    )  # fmt: skip


def test_the_environment_has_no_keys() -> None:
    environ = {
        "PATH": "/bin", "HOME": "/root", "HF_TOKEN": "x", "OPENAI_API_KEY": "x", "GGML_SECRET_TOKEN": "x", "LANG": "C",
        "LC_TIME": "C", "OMP_NUM_THREADS": "2", "GGML_CUDA_GRAPHS": "1", "CUDA_VISIBLE_DEVICES": "0", "LD_PRELOAD": "x.so",
    }  # fmt: skip
    assert sorted(child_environment(environ)) == [
        "CUDA_VISIBLE_DEVICES",
        "GGML_CUDA_GRAPHS",
        "LANG",
        "LC_TIME",
        "OMP_NUM_THREADS",
    ]


@on_linux
def test_the_environment_is_wiped_in_memory() -> None:
    code = (
        "import os\n"
        "from llamacli.backend.child.sandbox.environment import clear_environment\n"
        "before = open('/proc/self/environ', 'rb').read()\n"
        "os.environ['SET_LATER'] = 'too'\n"
        "clear_environment()\n"
        "after = open('/proc/self/environ', 'rb').read()\n"
        "print(b'hunter2' in before, b'hunter2' in after)\n"
        "print({'HF_TOKEN', 'SET_LATER', 'PYTHONPATH'} & set(os.environ), os.environ['LC_TIME'])\n"
    )
    environ = {"HF_TOKEN": "hunter2", "LC_TIME": "C", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "set()", "C"]


# --- the filter's program ----------------------------------------------------------------------------------------------------


def interpret(code: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int = ARCHITECTURES["x86_64"]) -> int:
    """Run a BPF program as the kernel does, and return its verdict."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("=HBBI", code))
    accumulator = at = 0
    while True:
        operation, if_true, if_false, value = steps[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x25:
                at += if_true if accumulator > value else if_false
            case 0x06:
                return value


ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026


@pytest.mark.parametrize(
    ("number", "arguments", "verdict"),
    [
        (0, (), ALLOW),
        (59, (), EPERM),
        (56, (0x3D0F00,), ALLOW),  # a thread, as glibc makes it
        (56, (17,), EPERM),
        (56, (0x3D0F00 | 0x10000000,), EPERM),  # a thread in a namespace of its own
        (435, (), ENOSYS),
        (62, (7, 9), ALLOW),
        (62, (8, 9), EPERM),
        (62, ((1 << 32) | 8, 9), EPERM),
        (157, (38, 1), ALLOW),
        (157, (1, 0), EPERM),
        (LAST_KNOWN + 1, (), ENOSYS),
        (0x40000000 | 59, (), ENOSYS),  # the same through the x32 interface
    ],
)
def test_verdicts(monkeypatch: pytest.MonkeyPatch, number: int, arguments: tuple[int, ...], verdict: int) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 7)
    wanted = list(seccomp.rules(network="none", writes=False))
    code = program(wanted, system_calls("x86_64"), ARCHITECTURES["x86_64"])
    assert interpret(code, number, arguments) == verdict
    assert interpret(code, number, arguments, ARCHITECTURES["aarch64"]) == KILL


def test_each_rule_has_a_number_where_the_machine_has_the_call() -> None:
    names = {rule.name for rule in seccomp.rules(network="none", writes=False)}
    assert names - system_calls("x86_64").keys() == set()
    numbers = system_calls("aarch64")
    assert names - numbers.keys() <= {
        "fork", "vfork", "iopl", "ioperm", "modify_ldt", "uselib", "mknod", "mkdir", "rmdir", "unlink", "rename", "link",
        "symlink", "creat", "chmod", "chown", "lchown", "utime", "utimes", "futimesat", "open",
    }  # fmt: skip
    code = program([Rule("socket")], numbers, ARCHITECTURES["aarch64"])
    assert interpret(code, 198, architecture=ARCHITECTURES["aarch64"]) == EPERM
    assert interpret(code, 41, architecture=ARCHITECTURES["aarch64"]) == ALLOW
