"""The limits of a child: of the whole process, and of one hostile operation. Each is tried in a process of its own."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llamacli.backend.child.work.limits import (
    EXIT_MEMORY,
    EXIT_ORPHAN,
    EXIT_SECONDS,
    EXIT_TEXT_SECONDS,
    limited,
    private_memory,
)
from llamacli.engine.runtime.hardware import total_memory

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")


def python(code: str, **how: object) -> subprocess.CompletedProcess[str]:
    """Run code that has everything of the module under test, in another process."""
    code = "import os, sys, threading, time\nfrom llamacli.backend.child.work.limits import *\n" + code
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, **how)


@pytest.mark.parametrize(
    ("work", "status"),
    [
        ("sum(range(1000))", 0),
        ("time.sleep(0.6)", 0),  # waiting is not computing
        ("while True: pass", EXIT_SECONDS),
        ("import ctypes; libc = ctypes.CDLL(None)\nwhile True: libc.labs(1)", EXIT_SECONDS),
        ("kept = bytearray(64 << 20)", EXIT_MEMORY),
        ("kept = [bytes(1000) for _ in range(1 << 20)]", EXIT_MEMORY),
        ("kept = bytearray(1 << 20)", 0),
    ],
)
def test_an_operation_ends_within_its_limits(work: str, status: int) -> None:
    body = "".join(f"    {line}\n" for line in work.splitlines())
    code = f"with limited(seconds=0.4, extra_bytes=16 << 20):\n{body}    time.sleep(0.05)\n"
    done = python(code)
    assert done.returncode == status, done.stderr


def test_memory_that_other_work_takes_meanwhile_is_not_counted() -> None:
    code = (
        "alone = [True]\n"
        "count_memory_while(lambda: alone[0])\n"
        "with limited(seconds=5, extra_bytes=16 << 20):\n"
        "    alone[0] = False\n"
        "    time.sleep(0.1)\n"
        "    kept = bytearray(64 << 20)\n"
        "    alone[0] = True\n"
        "    time.sleep(0.1)\n"
        "with limited(seconds=5, extra_bytes=16 << 20):\n"
        "    kept += bytearray(64 << 20)\n"
        "    time.sleep(0.1)\n"
    )
    done = python(code)
    assert done.returncode == EXIT_MEMORY, done.stderr  # of the second, which was alone


def test_a_native_call_is_ended_too() -> None:
    code = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "data = ctypes.create_string_buffer(b'x' * (1 << 20))\n"
        "with limited(seconds=0.2):\n"
        "    libc.qsort(data, ctypes.c_size_t(1 << 20), ctypes.c_size_t(1), libc.strcmp)  # one call that takes an hour\n"
    )
    start = time.monotonic()
    assert python(code).returncode == EXIT_SECONDS
    assert time.monotonic() - start < 20


def test_threads_of_native_code_are_counted_on_request() -> None:
    """A chat template is rendered on a native thread, so this is tried with one that does not end."""
    code = (
        "from llamacli.engine.chat.template import ChatTemplate\n"
        "from llamacli.engine.chat.message import Message\n"
        "from llamacli.engine.runtime import bounds\n"
        "bounds.install(bound_native_work)\n"
        "loop = '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}'\n"
        "with ChatTemplate('{% if messages %}' + loop + '{% endif %}', seconds=60) as template:\n"
        "    template.render([Message('user', 'x')])\n"
    )
    start = time.monotonic()
    assert python(code).returncode == EXIT_SECONDS
    assert time.monotonic() - start < 20


def test_the_time_of_a_tokenizer_grows_with_its_text() -> None:
    work = "end = time.thread_time() + 2.5\n    while time.thread_time() < end: pass\n"
    assert python(f"with bound_native_work('text', 1 << 20):\n    {work}").returncode == 0
    assert python(f"with bound_native_work('text', 2000):\n    {work}").returncode == EXIT_TEXT_SECONDS


def test_an_inner_operation_has_the_limits_of_the_outer_one() -> None:
    code = (
        "with limited(seconds=5):\n"
        "    with limited(seconds=0.1):\n"
        "        end = time.thread_time() + 0.4\n"
        "        while time.thread_time() < end: pass\n"
    )
    assert python(code).returncode == 0


def test_other_threads_may_compute_meanwhile() -> None:
    code = (
        "stop = threading.Event()\n"
        "def busy():\n"
        "    while not stop.is_set(): sum(range(1000))\n"
        "thread = threading.Thread(target=busy); thread.start()\n"
        "with limited(seconds=0.3): time.sleep(0.8)\n"
        "stop.set(); thread.join()\n"
    )
    assert python(code).returncode == 0


def test_the_time_of_one_operation_is_not_the_next_ones() -> None:
    code = (
        "for _ in range(4):\n"
        "    with limited(seconds=0.4):\n"
        "        end = time.thread_time() + 0.2\n"
        "        while time.thread_time() < end: pass\n"
    )
    assert python(code).returncode == 0


def test_an_exception_passes_and_ends_the_watch() -> None:
    with pytest.raises(ZeroDivisionError), limited(seconds=0.05):
        raise ZeroDivisionError
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass


def test_many_operations_side_by_side() -> None:
    code = (
        "def work():\n"
        "    for _ in range(200):\n"
        "        with limited(seconds=0.5): sum(range(100))\n"
        "threads = [threading.Thread(target=work) for _ in range(8)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_has_no_core_file_and_a_bound_of_memory() -> None:
    code = (
        "import resource\n"
        "bound = apply_limits(400 << 20)\n"
        "assert bound == 400 << 20\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
        "try: kept = bytearray(500 << 20)\n"
        "except MemoryError: print('refused')\n"
        "kept = bytearray(100 << 20)\n"
    )
    done = python(code)
    assert (done.returncode, done.stdout) == (0, "refused\n" if sys.platform.startswith("linux") else done.stdout), done.stderr


@on_linux
def test_the_default_bound_is_what_the_machine_has() -> None:
    done = python("print(apply_limits())\nfrom llamacli.binding.linux import prctl\nprint(prctl(3))")
    assert done.stdout.split() == [str(total_memory()), "0"]


@on_linux
def test_a_file_that_is_mapped_is_not_private_memory() -> None:
    before = private_memory()
    with Path(sys.executable).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert len(bytes(mapped[: 1 << 20])) > 0
        assert private_memory() - before < 8 << 20
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as kept:  # malloc may have some to spare
        kept.write(os.urandom(1) * len(kept))
        assert private_memory() - before > 24 << 20


@on_linux
def test_a_child_dies_with_its_parent() -> None:
    code = (
        "import os, time\n"
        "from llamacli.backend.child.work.limits import die_with_parent\n"
        "parent = os.getpid()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    die_with_parent(parent)\n"
        "    print('ready', os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "    os._exit(0)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        _, child = parent.stdout.readline().split()
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == ""  # the child held the other end, so it has ended
    command = Path("/proc", child, "cmdline")  # of a process that nobody has waited for, it is empty
    assert not command.exists() or command.read_bytes() == b""


def test_a_child_whose_parent_has_gone_ends_at_once() -> None:
    assert python("die_with_parent(os.getppid())").returncode == 0
    assert python("die_with_parent(1 << 30)").returncode == EXIT_ORPHAN


def test_descriptors_are_closed_but_those_kept() -> None:
    code = (
        "read, write = os.pipe()\n"
        "others = [os.open(os.devnull, os.O_RDONLY) for _ in range(40)]\n"
        "kept = others[20]\n"
        "close_inherited([kept, write, 1])\n"
        "def alive(number):\n"
        "    try: os.fstat(number)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "print([number for number in others if alive(number)] == [kept], alive(read), alive(write))\n"
        "print(repr(os.read(0, 10)), flush=True)\n"
        "os._exit(0)\n"
    )
    done = python(code, input="secret")
    assert done.stdout.split() == ["True", "False", "True", "b''"], done.stderr


def test_limits_of_a_process_are_not_raised() -> None:
    done = python("apply_limits(1 << 30)\nprint(apply_limits(2 << 30))")
    assert done.stdout.split() == [str(1 << 30)], done.stderr
